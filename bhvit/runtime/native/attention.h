// What both kinds of attention share: projections to queries, keys and values, softmax, the context's norm, the output.
#pragma once
#include "buffers.h"

namespace bhvit::ISA {

struct AttentionConstants {
  const bhvit_projection *projections[3]; // query, key, value
  Normed project[3], output, reduction; // without the RPReLU's first shift
  float *threshold[3];                 // of what attends: both shifts that follow the PReLU
  const float *scale;                  // of the context
  float *shift;                        // of the context: its norm, the residuals' and the RPReLU's shifts
  const float *alpha;
  float *base;                         // output = PReLU * alpha + base
};

static AttentionConstants fold_attention(const bhvit_attention &a, int channels, Constants constants) {
  AttentionConstants k = {};
  k.projections[0] = &a.query;
  k.projections[1] = &a.key;
  k.projections[2] = &a.value;
  k.scale = a.norm.scale;
  k.shift = constants.take(channels);
  for (int c = 0; c < channels; ++c) k.shift[c] = a.norm.shift[c] - a.rprelu.shift_in[c];
  for (int which = 0; which < 3; ++which) {
    const bhvit_projection &p = *k.projections[which];
    k.project[which] = constants.normed(p.project.product, p.project.norm);
    k.threshold[which] = constants.take(channels);
    for (int c = 0; c < channels; ++c) {
      k.project[which].last()[c] -= p.project.rprelu.shift_in[c];
      k.threshold[which][c] = -(p.project.rprelu.shift_out[c] + p.shift[c]);
      k.shift[c] += p.project.rprelu.shift_out[c];
    }
  }
  k.output = constants.normed(a.output.product, a.output.norm);
  k.alpha = constants.alpha(a.layer_scale, channels);
  k.base = constants.take(channels);
  for (int c = 0; c < channels; ++c) {
    k.output.last()[c] -= a.output.rprelu.shift_in[c];
    k.base[c] = a.output.rprelu.shift_out[c] * k.alpha[c] + (a.layer_scale.shift ? a.layer_scale.shift[c] : 0.0f);
  }
  if (!a.reduction) return k;
  k.reduction = constants.normed(a.reduction->product, a.reduction->norm);
  for (int c = 0; c < channels; ++c) k.reduction.last()[c] -= a.reduction->rprelu.shift_in[c];
  return k;
}

// Collects columns of heads as bits: words [row][head][word] of a tile.
struct HeadBits {
  int head, words, columns; // channels and words a head, channels in all
  uint32_t *out;            // of the tile's first row
  int within;               // the column in its head
  Bits bits[ROWS][32];

  METHOD void put(int c, const F *x, F threshold) {
    for (int r = 0; r < ROWS; ++r) bits[r][within % 32] = Bits(at_least(x[r], threshold));
    if (within % 32 != 31 && within != head - 1) {
      ++within;
      return;
    }
    for (int r = 0; r < ROWS; ++r)
      for (int i = within % 32 + 1; i < 32; ++i) bits[r][i] = 0;
    uint32_t word[TILE];
    transpose_bits(bits, word);
    const int at = c / head * words + within / 32, stride = columns / head * words;
    for (int t = 0; t < TILE; ++t) out[int64_t(t) * stride + at] = word[t];
    within = within == head - 1 ? 0 : within + 1;
  }
};

INLINE float *level_map(Buffers &b, int which) { return which == 0 ? b.query : which == 1 ? b.key : b.value; }

// One of the projections of a tile of rows (0 query, 1 key, 2 value): its sum with the others from `begin` on, and what attends.
static void project_tile(Run &run, const bhvit_attention &a, const AttentionConstants &k, const HeadShape &shape, int which, int begin, int first, Scratch &s) {
  Buffers &b = run.buffers;
  const bhvit_projection &p = *k.projections[which];
  const int channels = shape.channels, words = words_of(shape.head);
  const int64_t row_bytes = shape.value_row_bytes();
  HeadBits heads = {shape.head, words, channels, nullptr, 0, {}};
  if (a.kind == BHVIT_BINARY) heads.out = (which == 0 ? b.query_bits : b.key_bits) + int64_t(first) * shape.heads * words;
  each_normed_column(p.project.product, k.project[which], s.operand, s, [&](int c, const F *y) {
    F z[ROWS];
    const F slope = set(p.project.rprelu.slope[c]), threshold = set(k.threshold[which][c]);
    UNROLL for (int r = 0; r < ROWS; ++r) {
      z[r] = prelu(add(y[r], load(s.residual + c * TILE + r * LANES)), slope);
      float *sum = s.columns + c * TILE + r * LANES;
      store(sum, which > begin ? add(load(sum), z[r]) : z[r]);
    }
    if (a.kind != BHVIT_BINARY) {
      for (int r = 0; r < ROWS; ++r) {
        const F x = sub(z[r], threshold);
        store(s.pooled + c * TILE + r * LANES, a.kind <= BHVIT_INT8 ? level_of(a.kind, x, p.step) : x);
      }
    } else if (which < 2) {
      heads.put(c, z, threshold);
    } else {
      Bits bits[ROWS];
      UNROLL for (int r = 0; r < ROWS; ++r) bits[r] = Bits(at_least(z[r], threshold));
      uint8_t packed[TILE / 8];
      if (LANES >= 8) memcpy(packed, bits, TILE / 8);
      else packed[0] = uint8_t(bits[0] | bits[1] << 4);
      memcpy(b.value_bits + int64_t(c) * row_bytes + first / 8, packed, TILE / 8);
    }
  });
  if (a.kind != BHVIT_BINARY) rows_of(s.pooled, channels, level_map(b, which) + int64_t(first) * channels);
}

// The projections [begin, end) of rows [first, first + TILE), whose channels are in s.residual, too; their sum to `sums`.
static void project_rows(Run &run, const bhvit_attention &a, const AttentionConstants &k, const HeadShape &shape, const float *const *rows, int begin, int end,
                         int first, float *sums, Scratch &s) {
  for (int which = begin; which < end; ++which) {
    operand_of_rows(k.projections[which]->project.product, 0, rows, s.pooled, s.zeros, s.operand);
    project_tile(run, a, k, shape, which, begin, first, s);
  }
  rows_of(s.columns, shape.channels, sums + int64_t(first) * shape.channels);
}

// The same of `count` rows of a map.
static void attention_projections(Run &run, const bhvit_attention &a, const AttentionConstants &k, const HeadShape &shape, const float *map, int count, int end) {
  run.tiles(count, TILE, [&](int first, int tokens, Scratch &s) {
    const float *rows[TILE];
    tile_rows(map, shape.channels, first, tokens, rows);
    columns_of(rows, 0, shape.channels, s.residual);
    project_rows(run, a, k, shape, rows, 0, end, first, run.buffers.sums, s);
  });
}

// `count` bits of `bits` from bit `first` on; count <= 32.
INLINE uint32_t bits_at(const uint8_t *bits, int64_t first, int count) {
  uint64_t word;
  memcpy(&word, bits + first / 8, 8);
  return uint32_t(word >> (first % 8)) & (count == 32 ? ~0u : (1u << count) - 1);
}

// Softmax over keys in place: s.scores [keys][TILE], of `factor` times them.
INLINE void softmax(int keys, float factor, int r, float *scores) {
  float *lane = scores + r * LANES;
  F largest = load(lane), total = set(0.0f);
  for (int k = 1; k < keys; ++k) largest = max(largest, load(lane + k * TILE));
  for (int k = 0; k < keys; ++k) {
    const F e = exp_negative(mul(sub(load(lane + k * TILE), largest), set(factor)));
    store(lane + k * TILE, e);
    total = add(total, e);
  }
  const F share = div(set(1.0f), total);
  for (int k = 0; k < keys; ++k) store(lane + k * TILE, mul(load(lane + k * TILE), share));
}

// s.scores: probabilities or their levels, of real-valued queries [head][TILE] and panels of keys, or of integer levels, whose
// sums float holds exactly (int8: in heads of up to 1,024 channels).
static void real_probabilities(const bhvit_attention &a, int h, int head, int keys, const float *queries, const float *panels, int tokens, Scratch &s) {
  for (int k = 0; k < keys; k += PANEL) fma_panel(queries, panels + int64_t(k) * head, head, tokens, s.scores + k * TILE);
  const bool levels = a.kind <= BHVIT_INT8;
  const float factor = (levels ? a.query.step * a.key.step : 1.0f) / sqrtf(float(head));
  for (int r = 0; r < ROWS; ++r) softmax(keys, factor, r, s.scores);
  if (!levels) return;
  const float top = float((1 << bits_of(a.kind)) - 1);
  for (int i = 0; i < keys * TILE; i += LANES) {
    const F level = round(div(load(s.scores + i), set(a.probability_scale[h])));
    store(s.scores + i, max(min(level, set(top)), set(0.0f)));
  }
}

// s.columns of head h: the probabilities times panels of values (exact with int8 levels of up to 514 keys).
static void real_context(const bhvit_attention &a, int h, int head, int keys, const float *panels, int tokens, Scratch &s) {
  const float scale = a.kind <= BHVIT_INT8 ? a.probability_scale[h] * a.value.step : 1.0f;
  for (int c = 0; c < head; c += PANEL) {
    const int columns = head - c < PANEL ? head - c : PANEL;
    fma_panel(s.scores, panels + int64_t(c) * keys, keys, tokens, s.y);
    for (int i = 0; i < columns * TILE; i += LANES) store(s.columns + (int64_t(h) * head + c) * TILE + i, mul(load(s.y + i), set(scale)));
  }
}

// sink(column, RPReLU(norm(context) + residual)) of the context in s.columns and residuals in s.residual.
template <class Sink> INLINE void each_context_column(const bhvit_attention &a, const AttentionConstants &k, int channels, Scratch &s, Sink sink) {
  if (a.norm.layer) standardise_tile(channels, s.columns);
  for (int c = 0; c < channels; ++c) {
    const F scale = set(k.scale[c]), shift = set(k.shift[c]), slope = set(a.rprelu.slope[c]), last = set(a.rprelu.shift_out[c]);
    F z[ROWS];
    UNROLL for (int r = 0; r < ROWS; ++r) {
      const int at = c * TILE + r * LANES;
      z[r] = add(prelu(add(fma(load(s.columns + at), scale, shift), load(s.residual + at)), slope), last);
    }
    sink(c, z);
  }
}

// map += LayerScale(RPReLU(norm(product(m)) + m)) for a tile: m as the operand of the product, and in s.residual.
static void output_tile(Run &run, const bhvit_attention &a, const AttentionConstants &k, int channels, int first, int count, Scratch &s) {
  each_normed_column(a.output.product, k.output, s.operand, s, [&](int c, const F *y) {
    const F slope = set(a.output.rprelu.slope[c]), alpha = set(k.alpha[c]), base = set(k.base[c]);
    UNROLL for (int r = 0; r < ROWS; ++r) {
      const F z = prelu(add(y[r], load(s.residual + c * TILE + r * LANES)), slope);
      store(s.columns + c * TILE + r * LANES, fma(z, alpha, base));
    }
  });
  rows_of(s.columns, channels, s.rows);
  for (int t = 0; t < count; ++t) add_row(channels, s.rows + t * channels, run.buffers.map + int64_t(first + t) * channels);
}

} // namespace bhvit::ISA
