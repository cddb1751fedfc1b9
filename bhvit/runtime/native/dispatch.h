// What the translation unit of an instruction set offers.
#pragma once
#include "core.h"
#include "pool.h"

namespace bhvit {

struct Engine {
  const char *name;
  int64_t (*workspace_bytes)(const bhvit_model *, int32_t threads);
  void (*run)(const bhvit_model *, Pool *, int32_t threads, void *workspace, const void *image, int32_t is_float, float *logits, double *seconds);
  bool (*run_layer)(const bhvit_model *, Pool *, int32_t threads, void *workspace, int32_t layer, const float *in, float *out);
  int64_t (*accumulate_bytes)(const bhvit_product *);
  void (*accumulate)(const bhvit_product *, void *workspace, const float *x, const uint8_t *valid, int32_t tokens, float *accumulators);
};

extern const Engine scalar_engine, avx2_engine, avx512_engine, neon_engine;

} // namespace bhvit
