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

struct MlpConstants {
  Normed expand, project;                    // without the RPReLU's first shift
  const float *threshold, *alpha, *base;     // of the quantized intermediate; output = PReLU * alpha + base
};

// Everything that is added per channel, added once: the shifts of both RPReLUs, the tiled first one as its mean over the pool.
static MlpConstants fold_mlp(const bhvit_mlp &m, int channels, Constants constants) {
  MlpConstants k = {constants.normed(m.expand.product, m.expand.norm), constants.normed(m.project.product, m.project.norm), nullptr, nullptr, nullptr};
  float *threshold = constants.take(m.intermediate), *base = constants.take(channels);
  const bhvit_rprelu &first = m.expand.rprelu, &second = m.project.rprelu;
  for (int i = 0; i < m.intermediate; ++i) {
    k.expand.last()[i] -= first.shift_in[i];
    threshold[i] = -(first.shift_out[i] + (m.project.product.shift ? m.project.product.shift[i] : 0.0f));
  }
  const Pooling pooling = {m.intermediate, channels};
  for (int c = 0; c < channels; ++c) {
    const int begin = pooling.first_of(c), end = pooling.end_of(c);
    float total = 0;
    for (int i = begin; i < end; ++i) total += first.shift_out[i];
    k.project.last()[c] += total / float(end - begin) - second.shift_in[c];
    base[c] = second.shift_out[c] * m.layer_scale.alpha[c] + m.layer_scale.shift[c];
  }
  k.threshold = threshold;
  k.alpha = m.layer_scale.alpha;
  k.base = base;
  return k;
}

// s.operand2: PReLU(norm(expand(v)) + tile(v)), quantized; s.pooled [channels][TILE]: the sums of its groups.
static void expand_tile(const bhvit_mlp &m, const MlpConstants &k, int channels, Scratch &s) {
  OperandWriter writer = {m.project.product, k.threshold, s.operand2, {}};
  const float *slope = m.expand.rprelu.slope, *residual = s.residual, *residual_end = s.residual + int64_t(channels) * TILE;
  const auto activate = [&](int column, const F *y, F *z) {
    UNROLL for (int r = 0; r < ROWS; ++r) z[r] = prelu(add(y[r], load(residual + r * LANES)), set(slope[column]));
    residual += TILE;
    if (residual == residual_end) residual = s.residual;
    writer.put(column, z);
  };
  if (m.intermediate % channels == 0) { // groups follow one another
    const int size = m.intermediate / channels;
    float *pooled = s.pooled;
    int left = size;
    F total[ROWS];
    UNROLL for (int r = 0; r < ROWS; ++r) total[r] = set(0.0f);
    each_normed_column(m.expand.product, k.expand, s.operand, s, [&](int column, const F *y) {
      F z[ROWS];
      activate(column, y, z);
      UNROLL for (int r = 0; r < ROWS; ++r) total[r] = add(total[r], z[r]);
      if (--left) return;
      UNROLL for (int r = 0; r < ROWS; ++r) {
        store(pooled + r * LANES, total[r]);
        total[r] = set(0.0f);
      }
      pooled += TILE;
      left = size;
    });
  } else { // groups share the columns at their borders
    memset(s.pooled, 0, size_t(channels) * TILE * sizeof(float));
    const Pooling pooling = {m.intermediate, channels};
    int group = 0, end = pooling.end_of(0);
    each_normed_column(m.expand.product, k.expand, s.operand, s, [&](int column, const F *y) {
      F z[ROWS];
      activate(column, y, z);
      while (column >= end) end = pooling.end_of(++group);
      for (int j = group; j < channels && pooling.first_of(j) <= column; ++j)
        UNROLL for (int r = 0; r < ROWS; ++r) {
          float *at = s.pooled + j * TILE + r * LANES;
          store(at, add(load(at), z[r]));
        }
    });
  }
  writer.finish();
}

constexpr int MAX_REACH = 2;

// map += rows + the shift branches of v for a tile of tokens: stencils along height and width, circular.
static void add_branches(const bhvit_mlp &m, int side, int channels, const float *v, const float *rows, int first, int count, float *map) {
  const int taps = 2 * m.reach + 1, stencils = m.reach ? 2 * taps : 0;
  int64_t offset[TILE][2 * (2 * MAX_REACH + 1)];
  for (int t = 0; t < count; ++t)
    for (int j = 0; j < taps; ++j) {
      const int row = (first + t) / side, column = (first + t) % side;
      const int along = (row + j + side * MAX_REACH - m.reach) % side, across = (column + j + side * MAX_REACH - m.reach) % side;
      offset[t][j] = int64_t(along * side + column) * channels;
      offset[t][taps + j] = int64_t(row * side + across) * channels;
    }
  int c = 0;
  for (; c + LANES <= channels; c += LANES) {
    F weight[2 * (2 * MAX_REACH + 1)];
    for (int j = 0; j < stencils; ++j) weight[j] = load((j < taps ? m.height_taps + j * channels : m.width_taps + (j - taps) * channels) + c);
    const F shift = m.reach ? load(m.branch_shift + c) : set(0.0f);
    for (int t = 0; t < count; ++t) {
      float *at = map + int64_t(first + t) * channels + c;
      F a = add(load(at), load(rows + t * channels + c)), b = shift;
      if (stencils == 10) { // all shift branches: unrolled
        UNROLL for (int j = 0; j < 5; ++j) {
          a = fma(load(v + offset[t][j] + c), weight[j], a);
          b = fma(load(v + offset[t][5 + j] + c), weight[5 + j], b);
        }
      } else {
        for (int j = 0; j < stencils; ++j) a = fma(load(v + offset[t][j] + c), weight[j], a);
      }
      store(at, add(a, b));
    }
  }
  for (; c < channels; ++c)
    for (int t = 0; t < count; ++t) {
      float total = m.reach ? m.branch_shift[c] : 0.0f;
      for (int j = 0; j < stencils; ++j)
        total += v[offset[t][j] + c] * (j < taps ? m.height_taps[j * channels + c] : m.width_taps[(j - taps) * channels + c]);
      map[int64_t(first + t) * channels + c] += rows[t * channels + c] + total;
    }
}

static void mlp_tile(Run &run, const bhvit_mlp &m, const MlpConstants &k, int side, int channels, int first, int count, Scratch &s) {
  const float *rows[TILE];
  tile_rows(run.buffers.normed, channels, first, count, rows);
  operand_of_rows(m.expand.product, 0, rows, s.columns, s.zeros, s.operand);
  columns_of(rows, 0, channels, s.residual);
  expand_tile(m, k, channels, s);
  const Pooling pooling = {m.intermediate, channels};
  const bool even = m.intermediate % channels == 0;
  F share = set(1.0f / float(pooling.end_of(0)));
  each_normed_column(m.project.product, k.project, s.operand2, s, [&](int c, const F *y) {
    if (!even) share = set(1.0f / float(pooling.end_of(c) - pooling.first_of(c)));
    const F slope = set(m.project.rprelu.slope[c]), alpha = set(k.alpha[c]), base = set(k.base[c]);
    UNROLL for (int r = 0; r < ROWS; ++r) {
      const F z = prelu(fma(load(s.pooled + c * TILE + r * LANES), share, y[r]), slope);
      store(s.columns + c * TILE + r * LANES, fma(z, alpha, base));
    }
  });
  rows_of(s.columns, channels, s.rows);
  add_branches(m, side, channels, run.buffers.normed, s.rows, first, count, run.buffers.map);
}

// map += mlp(v) + branches(v), v = norm_after(map)
static void run_mlp(Run &run, const bhvit_mlp &m, int side, int channels) {
  const MlpConstants k = fold_mlp(m, channels, {run.buffers.constants});
  run.norm_map(m.norm_after, side * side, channels, run.buffers.map, run.buffers.normed);
  run.tiles(side * side, [&](int first, int count, Scratch &s) { mlp_tile(run, m, k, side, channels, first, count, s); });
}

} // namespace bhvit::ISA
