#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

// Everything that a translation unit of one instruction set compiles is internal to it: a function that the linker shared
// with the others could hold instructions that the processor lacks.
#define INLINE static inline __attribute__((always_inline))
#define METHOD inline __attribute__((always_inline)) // the same for a member function

#ifndef ISA
#error "define ISA, the name of the instruction set, before including this"
#endif
