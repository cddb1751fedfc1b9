#define ISA neon
#include "simd_neon.h"

#include "engine.h"

namespace bhvit {
const Engine neon_engine = {"neon", neon::workspace_bytes, neon::run_model, neon::run_layer, neon::accumulate_bytes, neon::accumulate};
}
