#define ISA avx512
#include "simd_avx512.h"

#include "engine.h"

namespace bhvit {
const Engine avx512_engine = {"avx512", avx512::workspace_bytes, avx512::run_model, avx512::run_layer, avx512::accumulate_bytes, avx512::accumulate};
}
