// The whole network for one instruction set, as the table of functions that core.cpp chooses from.
#pragma once
#include <time.h>

#include "dispatch.h"
#include "ends.h"
#include "global_attention.h"
#include "mixer.h"
#include "mlp.h"
#include "window_attention.h"

namespace bhvit::ISA {

INLINE double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// Writes the time since the last call to the next place, if there is one.
struct Stopwatch {
  double *seconds, last;
  METHOD void lap() {
    if (!seconds) return;
    const double t = now();
    *seconds++ = t - last;
    last = t;
  }
};

static int64_t workspace_bytes(const bhvit_model *model, int32_t threads) {
  Buffers buffers;
  return lay_out(*model, threads, nullptr, buffers);
}

static void run_token_mixing(Run &run, const bhvit_block &block, int side, int channels) {
  if (block.mixer) run_mixer(run, *block.mixer, side, channels);
  else if (block.attention->windows) run_window_attention(run, *block.attention, side, channels);
  else run_global_attention(run, *block.attention, side, channels);
}

static void run_block(Run &run, const bhvit_block &block, int side, int channels, Stopwatch &watch) {
  run_token_mixing(run, block, side, channels);
  watch.lap();
  run_mlp(run, *block.mlp, side, channels);
  watch.lap();
}

static void run_model(const bhvit_model *model, Pool *pool, int32_t threads, void *workspace, const void *image, int32_t is_float,
                      float *logits, double *seconds) {
  Buffers buffers;
  lay_out(*model, threads, workspace, buffers);
  Run run = {buffers, pool};
  Stopwatch watch = {seconds, seconds ? now() : 0};
  run_stem(run, *model->stem, image, is_float != 0);
  watch.lap();
  for (int i = 0; i < model->stage_count; ++i) {
    const bhvit_stage &stage = model->stages[i];
    if (stage.downsample) {
      const bhvit_stage &before = model->stages[i - 1];
      run_downsample(run, *stage.downsample, before.side, before.channels, stage.channels);
      watch.lap();
    }
    for (int j = 0; j < stage.depth; ++j) run_block(run, stage.blocks[j], stage.side, stage.channels, watch);
  }
  const bhvit_stage &last = model->stages[model->stage_count - 1];
  run_head(run, *model->head, last.side, last.channels, logits);
  watch.lap();
}

// False where there is no such layer.
static bool run_layer(const bhvit_model *model, Pool *pool, int32_t threads, void *workspace, int32_t layer, const float *in, float *out) {
  if (layer < 0) return false;
  Buffers buffers;
  lay_out(*model, threads, workspace, buffers);
  Run run = {buffers, pool};
  const auto with_map = [&](int side_in, int channels_in, int side, int channels, auto body) {
    memcpy(buffers.map, in, size_t(side_in) * size_t(side_in) * size_t(channels_in) * sizeof(float));
    body();
    memcpy(out, buffers.map, size_t(side) * size_t(side) * size_t(channels) * sizeof(float));
  };
  if (layer-- == 0) {
    const bhvit_stage &first = model->stages[0];
    run_stem(run, *model->stem, in, true);
    memcpy(out, buffers.map, size_t(first.side) * size_t(first.side) * size_t(first.channels) * sizeof(float));
    return true;
  }
  for (int i = 0; i < model->stage_count; ++i) {
    const bhvit_stage &stage = model->stages[i];
    if (stage.downsample && layer-- == 0) {
      const bhvit_stage &before = model->stages[i - 1];
      with_map(before.side, before.channels, stage.side, stage.channels,
               [&] { run_downsample(run, *stage.downsample, before.side, before.channels, stage.channels); });
      return true;
    }
    if (layer < 2 * stage.depth) {
      const bhvit_block &block = stage.blocks[layer / 2];
      with_map(stage.side, stage.channels, stage.side, stage.channels, [&] {
        if (layer % 2) run_mlp(run, *block.mlp, stage.side, stage.channels);
        else run_token_mixing(run, block, stage.side, stage.channels);
      });
      return true;
    }
    layer -= 2 * stage.depth;
  }
  if (layer) return false;
  const bhvit_stage &last = model->stages[model->stage_count - 1];
  memcpy(buffers.map, in, size_t(last.side) * size_t(last.side) * size_t(last.channels) * sizeof(float));
  run_head(run, *model->head, last.side, last.channels, out);
  return true;
}

static int64_t accumulate_bytes(const bhvit_product *p) {
  return (int64_t(depth_of(*p)) * TILE + int64_t(p->channels) * TILE + CHUNK * PANEL + PANEL * TILE + int64_t(p->groups) * p->channels) * 4 + 64 * 8;
}

static void accumulate(const bhvit_product *p, void *workspace, const float *x, const uint8_t *valid, int32_t tokens, float *out) {
  Arena arena = {(char *)workspace, 0};
  Scratch s = {};
  const int width = p->groups * p->channels, panels = (p->columns + PANEL - 1) / PANEL;
  s.operand = arena.take<uint32_t>(int64_t(depth_of(*p)) * TILE);
  s.columns = arena.take<float>(int64_t(p->channels) * TILE);
  s.chunk = arena.take<uint32_t>(CHUNK * PANEL);
  s.y = arena.take<float>(PANEL * TILE);
  float *zeros = arena.take<float>(width);
  memset(zeros, 0, size_t(width) * sizeof(float));
  const float **rows = (const float **)__builtin_alloca(size_t(p->taps) * TILE * sizeof(float *));
  for (int first = 0; first < tokens; first += TILE) {
    for (int tap = 0; tap < p->taps; ++tap)
      for (int t = 0; t < TILE; ++t) {
        const int64_t token = first + t < tokens ? first + t : first;
        rows[tap * TILE + t] = valid && !valid[token * p->taps + tap] ? nullptr : x + (token * p->taps + tap) * width;
      }
    for (int g = 0; g < p->groups; ++g) {
      operand_of_rows(*p, g, rows, s.columns, zeros, s.operand);
      for (int panel = 0; panel < panels; ++panel) {
        const int columns = p->columns - panel * PANEL < PANEL ? p->columns - panel * PANEL : PANEL;
        panel_product(*p, s.operand, int64_t(g) * panels + panel, columns, TILE, s.chunk, s.y);
        for (int c = 0; c < columns; ++c)
          for (int t = 0; t < TILE && first + t < tokens; ++t) {
            float value = s.y[c * TILE + t];
            const int column = g * p->columns + panel * PANEL + c;
            if (takes_signs(p->kind)) {
              for (int tap = 0; tap < p->taps; ++tap)
                if (!rows[tap * TILE + t]) value += padding_correction(*p, column, tap);
              value = odd_input(*p) + of_differing(*p) * value;
            }
            out[int64_t(first + t) * p->groups * p->columns + column] = value;
          }
      }
    }
  }
}

} // namespace bhvit::ISA
