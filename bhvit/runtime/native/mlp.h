// The channel mixer with the shift branches beside it. The wide intermediate is never stored: its columns leave as the
// quantized operand of the second product and as the pooled residual.
#pragma once
#include "buffers.h"

namespace bhvit::ISA {

// Where each of n inputs goes when they are averaged to m outputs: out[j] = mean of in[floor(j n / m) .. ceil((j + 1) n / m) - 1].
struct Pooling {
  int64_t n, m;
  METHOD int first_of(int64_t j) const { return int(j * n / m); }
  METHOD int end_of(int64_t j) const { return int(((j + 1) * n + m - 1) / m); }
};

// y += the shift branches of v at one token: stencils along height and width, circular.
static void add_branches(const bhvit_mlp &m, int side, int channels, const float *v, int token, float *y) {
  if (!m.reach) return;
  const int row = token / side, column = token % side, taps = 2 * m.reach + 1;
  const float *height[16], *width[16];
  for (int j = 0; j < taps; ++j) {
    const int along = ((row + j - m.reach) % side + side) % side, across = ((column + j - m.reach) % side + side) % side;
    height[j] = v + (int64_t(along) * side + column) * channels;
    width[j] = v + (int64_t(row) * side + across) * channels;
  }
  int c = 0;
  for (; c + LANES <= channels; c += LANES) {
    F sum_height = add(load(y + c), load(m.branch_shift + c)), sum_width = set(0.0f);
    for (int j = 0; j < taps; ++j) {
      sum_height = fma(load(height[j] + c), load(m.height_taps + j * channels + c), sum_height);
      sum_width = fma(load(width[j] + c), load(m.width_taps + j * channels + c), sum_width);
    }
    store(y + c, add(sum_height, sum_width));
  }
  for (; c < channels; ++c) {
    float total = m.branch_shift[c];
    for (int j = 0; j < taps; ++j) total += height[j][c] * m.height_taps[j * channels + c] + width[j][c] * m.width_taps[j * channels + c];
    y[c] += total;
  }
}

// s.operand2: RPReLU(norm(expand(v)) + tile(v)), quantized; s.pooled [channels][TILE]: the sums of its groups.
static void expand_tile(const bhvit_mlp &m, int channels, Scratch &s) {
  memset(s.pooled, 0, size_t(channels) * TILE * sizeof(float));
  OperandWriter writer = {m.project.product, s.operand2, {}};
  const Pooling pooling = {m.intermediate, channels};
  int residual = 0, group = 0, end = pooling.end_of(0);
  each_normed_column(m.expand.product, m.expand.norm, s.operand, s, [&](int column, const F *y) {
    F z[ROWS];
    UNROLL for (int r = 0; r < ROWS; ++r) z[r] = rprelu(m.expand.rprelu, column, add(y[r], load(s.residual + residual * TILE + r * LANES)));
    residual = residual + 1 == channels ? 0 : residual + 1;
    writer.put(column, z);
    while (column >= end) end = pooling.end_of(++group);
    for (int j = group; j < channels && pooling.first_of(j) <= column; ++j)
      UNROLL for (int r = 0; r < ROWS; ++r) {
        float *at = s.pooled + j * TILE + r * LANES;
        store(at, add(load(at), z[r]));
      }
  });
  writer.finish();
}

static void mlp_tile(Run &run, const bhvit_mlp &m, int side, int channels, int first, int count, Scratch &s) {
  const float *rows[TILE];
  tile_rows(run.buffers.normed, channels, first, count, rows);
  operand_of_rows(m.expand.product, 0, rows, s.columns, s.zeros, s.operand);
  columns_of(rows, 0, channels, s.residual);
  expand_tile(m, channels, s);
  const Pooling pooling = {m.intermediate, channels};
  each_normed_column(m.project.product, m.project.norm, s.operand2, s, [&](int c, const F *y) {
    const F share = set(1.0f / float(pooling.end_of(c) - pooling.first_of(c))), alpha = set(m.layer_scale.alpha[c]), shift = set(m.layer_scale.shift[c]);
    UNROLL for (int r = 0; r < ROWS; ++r) {
      const F z = rprelu(m.project.rprelu, c, fma(load(s.pooled + c * TILE + r * LANES), share, y[r]));
      store(s.columns + c * TILE + r * LANES, fma(z, alpha, shift));
    }
  });
  rows_of(s.columns, channels, s.rows);
  for (int t = 0; t < count; ++t) {
    float *row = run.buffers.map + int64_t(first + t) * channels;
    add_row(channels, s.rows + t * channels, row);
    add_branches(m, side, channels, run.buffers.normed, first + t, row);
  }
}

// map += mlp(v) + branches(v), v = norm_after(map)
static void run_mlp(Run &run, const bhvit_mlp &m, int side, int channels) {
  run.norm_map(m.norm_after, side * side, channels, run.buffers.map, run.buffers.normed);
  run.tiles(side * side, [&](int first, int count, Scratch &s) { mlp_tile(run, m, side, channels, first, count, s); });
}

} // namespace bhvit::ISA
