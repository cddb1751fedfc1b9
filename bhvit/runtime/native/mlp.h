// The channel mixer with the branches beside it. The wide intermediate is never stored: its columns leave as the
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

// Both stencils of the branches as one: weights [taps][channels], where tap 0 is the token itself, then 2 R along
// height and 2 R along width.
static const float *fold_branches(const bhvit_mlp &m, int channels, Constants &constants) {
  if (!m.reach) return nullptr;
  const int reach = m.reach, taps = 4 * reach + 1;
  float *weights = constants.take(taps * channels);
  for (int c = 0; c < channels; ++c) weights[c] = m.height_taps[reach * channels + c] + m.width_taps[reach * channels + c];
  for (int j = 0, tap = 1; j < 2 * reach + 1; ++j) {
    if (j == reach) continue;
    memcpy(weights + tap * channels, m.height_taps + j * channels, size_t(channels) * sizeof(float));
    memcpy(weights + (tap + 2 * reach) * channels, m.width_taps + j * channels, size_t(channels) * sizeof(float));
    ++tap;
  }
  return weights;
}

struct MlpConstants {
  Normed expand, project;                    // without the RPReLU's first shift
  const float *threshold, *alpha, *base;     // of the quantized intermediate; output = PReLU * alpha + base
  const float *stencil;                      // of the branches
};

// Everything that is added per channel, added once: the shifts of both RPReLUs, the tiled first one as its mean over the pool.
static MlpConstants fold_mlp(const bhvit_mlp &m, int channels, Constants constants) {
  MlpConstants k = {constants.normed(m.expand.product, m.expand.norm), constants.normed(m.project.product, m.project.norm), nullptr, nullptr, nullptr, nullptr};
  float *threshold = constants.take(m.intermediate), *base = constants.take(channels);
  const bhvit_rprelu &first = m.expand.rprelu, &second = m.project.rprelu;
  for (int i = 0; i < m.intermediate; ++i) {
    k.expand.last()[i] -= first.shift_in[i];
    threshold[i] = -(first.shift_out[i] + (m.project.product.shift ? m.project.product.shift[i] : 0.0f));
  }
  const Pooling pooling = {m.intermediate, channels};
  k.alpha = constants.alpha(m.layer_scale, channels);
  for (int c = 0; c < channels; ++c) {
    const int begin = pooling.first_of(c), end = pooling.end_of(c);
    float total = 0;
    for (int i = begin; i < end; ++i) total += first.shift_out[i];
    k.project.last()[c] += total / float(end - begin) - second.shift_in[c];
    base[c] = second.shift_out[c] * k.alpha[c] + (m.layer_scale.shift ? m.layer_scale.shift[c] : 0.0f);
  }
  k.threshold = threshold;
  k.base = base;
  k.stencil = fold_branches(m, channels, constants);
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

INLINE int wrapped(int i, int side) {
  while (i < 0) i += side;
  while (i >= side) i -= side;
  return i;
}

// The rows of v that a stencil of reach R reads at a token, in the order of fold_branches; beyond the border those of the other
// side, or `zeros`.
INLINE void stencil_rows(const bhvit_mlp &m, int side, int reach, int channels, const float *v, const float *zeros, int token, const float **out) {
  const int row = token / side, column = token - row * side;
  const auto at = [&](int y, int x) {
    if (!m.circular && (y < 0 || y >= side || x < 0 || x >= side)) return zeros;
    return v + (int64_t(wrapped(y, side)) * side + wrapped(x, side)) * channels;
  };
  out[0] = v + int64_t(token) * channels;
  int tap = 1;
  for (int j = -reach; j <= reach; ++j) {
    if (!j) continue;
    out[tap] = at(row + j, column);
    out[tap + 2 * reach] = at(row, column + j);
    ++tap;
  }
}

// What the branches of a map are computed from: their stencil, the map v, and zeros for what lies beyond it.
struct BranchInput {
  const bhvit_mlp &m;
  const float *weights, *v, *zeros;
  int side, channels;
};

// map += rows + shift + stencil of v for GROUP tokens from `first` on; `rows` starts at the first of them.
template <int TAPS_OF_BRANCHES, int GROUP> INLINE void add_branch_group(const BranchInput &in, const float *rows, int first, float *map) {
  const int channels = in.channels;
  const float *weights = in.weights, *shift = in.m.branch_shift, *from[GROUP][TAPS_OF_BRANCHES];
  for (int t = 0; t < GROUP; ++t) stencil_rows(in.m, in.side, TAPS_OF_BRANCHES / 4, channels, in.v, in.zeros, first + t, from[t]);
  float *to = map + int64_t(first) * channels;
  int c = 0;
  for (; c + LANES <= channels; c += LANES) {
    F total[GROUP];
    UNROLL for (int t = 0; t < GROUP; ++t) total[t] = add(load(shift + c), load(rows + t * channels + c));
    UNROLL for (int j = 0; j < TAPS_OF_BRANCHES; ++j) {
      const F weight = load(weights + j * channels + c);
      UNROLL for (int t = 0; t < GROUP; ++t) total[t] = fma(load(from[t][j] + c), weight, total[t]);
    }
    UNROLL for (int t = 0; t < GROUP; ++t) store(to + t * channels + c, add(load(to + t * channels + c), total[t]));
  }
  for (; c < channels; ++c)
    for (int t = 0; t < GROUP; ++t) {
      float total = shift[c] + rows[t * channels + c];
      for (int j = 0; j < TAPS_OF_BRANCHES; ++j) total += from[t][j][c] * weights[j * channels + c];
      to[t * channels + c] += total;
    }
}

template <int TAPS_OF_BRANCHES> static void add_branches(const BranchInput &in, const float *rows, int first, int count, float *map) {
  int t = 0;
  for (; t + 4 <= count; t += 4) add_branch_group<TAPS_OF_BRANCHES, 4>(in, rows + t * in.channels, first + t, map);
  for (; t < count; ++t) add_branch_group<TAPS_OF_BRANCHES, 1>(in, rows + t * in.channels, first + t, map);
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
  float *map = run.buffers.map;
  const BranchInput in = {m, k.stencil, run.buffers.normed, s.zeros, side, channels};
  if (m.reach == 2) add_branches<9>(in, s.rows, first, count, map);
  else if (m.reach == 1) add_branches<5>(in, s.rows, first, count, map);
  else
    for (int t = 0; t < count; ++t) add_row(channels, s.rows + t * channels, map + int64_t(first + t) * channels);
}

// map += mlp(v) + branches(v), v = norm_after(map)
static void run_mlp(Run &run, const bhvit_mlp &m, int side, int channels) {
  const MlpConstants k = fold_mlp(m, channels, {run.buffers.constants});
  run.norm_map(m.norm_after, side * side, channels, run.buffers.map, run.buffers.normed);
  run.tiles(side * side, tile_of(m.expand.product), [&](int first, int count, Scratch &s) { mlp_tile(run, m, k, side, channels, first, count, s); });
}

} // namespace bhvit::ISA
