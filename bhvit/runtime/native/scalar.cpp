#define ISA scalar
#include "simd_scalar.h"

#include "engine.h"

namespace bhvit {
const Engine scalar_engine = {"scalar", scalar::workspace_bytes, scalar::run_model, scalar::run_layer, scalar::accumulate_bytes, scalar::accumulate};
}
