#define ISA avx2
#include "simd_avx2.h"

#include "engine.h"

namespace bhvit {
const Engine avx2_engine = {"avx2", avx2::workspace_bytes, avx2::run_model, avx2::run_layer, avx2::accumulate_bytes, avx2::accumulate};
}
