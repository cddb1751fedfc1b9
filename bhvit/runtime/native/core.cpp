// Chooses the instruction set at run time. Nothing here is compiled for a particular processor.
#include "core.h"

#include <cstdlib>
#include <cstring>

#include "dispatch.h"

namespace {

using bhvit::Engine;

#if defined(__x86_64__)
const Engine *const ENGINES[] = {&bhvit::avx512_engine, &bhvit::avx2_engine, &bhvit::scalar_engine};

bool runs_here(const Engine *engine) {
  __builtin_cpu_init();
  if (engine == &bhvit::avx512_engine)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vpopcntdq");
  if (engine == &bhvit::avx2_engine) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  return true;
}
#elif defined(__aarch64__)
const Engine *const ENGINES[] = {&bhvit::neon_engine, &bhvit::scalar_engine};
bool runs_here(const Engine *) { return true; }
#else
const Engine *const ENGINES[] = {&bhvit::scalar_engine};
bool runs_here(const Engine *) { return true; }
#endif

bool allowed(int32_t threads) { return threads >= 1 && threads <= BHVIT_MAX_THREADS; }

const Engine *engine_named(const char *name) {
  for (const Engine *engine : ENGINES)
    if (!std::strcmp(engine->name, name) && runs_here(engine)) return engine;
  return nullptr;
}

constexpr int32_t SIZES[] = {
    sizeof(bhvit_product), sizeof(bhvit_norm), sizeof(bhvit_rprelu), sizeof(bhvit_scale), sizeof(bhvit_residual),
    sizeof(bhvit_stem), sizeof(bhvit_mixer), sizeof(bhvit_projection), sizeof(bhvit_windows), sizeof(bhvit_attention),
    sizeof(bhvit_mlp), sizeof(bhvit_downsample), sizeof(bhvit_head), sizeof(bhvit_block), sizeof(bhvit_stage), sizeof(bhvit_model)};

} // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int32_t bhvit_abi(void) { return BHVIT_ABI; }

EXPORT const int32_t *bhvit_struct_sizes(int32_t *count) {
  *count = int32_t(sizeof(SIZES) / sizeof(SIZES[0]));
  return SIZES;
}

EXPORT const char *bhvit_instruction_sets(void) {
  struct Names {
    char text[64] = "";
    Names() {
      for (const Engine *engine : ENGINES)
        if (runs_here(engine)) {
          if (*text) std::strcat(text, " ");
          std::strcat(text, engine->name);
        }
    }
  };
  static const Names names;
  return names.text;
}

EXPORT int64_t bhvit_workspace_bytes(const bhvit_model *model, const char *instruction_set, int32_t threads) {
  const Engine *engine = engine_named(instruction_set);
  return engine && allowed(threads) ? engine->workspace_bytes(model, threads) : -1;
}

EXPORT int32_t bhvit_run(const bhvit_model *model, const char *instruction_set, int32_t threads, void *workspace,
                         const void *image, int32_t is_float, float *logits, double *seconds) {
  const Engine *engine = engine_named(instruction_set);
  if (!engine || !allowed(threads)) return -1;
  bhvit::Pool *pool = bhvit::acquire_pool(threads);
  engine->run(model, pool, threads, workspace, image, is_float, logits, seconds);
  bhvit::release_pool(pool);
  return 0;
}

EXPORT int32_t bhvit_run_layer(const bhvit_model *model, const char *instruction_set, int32_t threads, void *workspace,
                               int32_t layer, const float *in, float *out) {
  const Engine *engine = engine_named(instruction_set);
  if (!engine || !allowed(threads)) return -1;
  bhvit::Pool *pool = bhvit::acquire_pool(threads);
  const bool known = engine->run_layer(model, pool, threads, workspace, layer, in, out);
  bhvit::release_pool(pool);
  return known ? 0 : -1;
}

EXPORT int32_t bhvit_accumulate(const bhvit_product *product, const char *instruction_set, const float *x,
                                const uint8_t *valid, int32_t tokens, float *accumulators) {
  const Engine *engine = engine_named(instruction_set);
  if (!engine) return -1;
  void *workspace = std::aligned_alloc(64, size_t(engine->accumulate_bytes(product) + 127) / 64 * 64);
  if (!workspace) return -2;
  engine->accumulate(product, workspace, x, valid, tokens, accumulators);
  std::free(workspace);
  return 0;
}
