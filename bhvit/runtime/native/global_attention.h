// Attention of every token to the whole map, or to averages of patches of it (spatial reduction).
// Keys and values are the same for all queries, so each head lays them out as weight panels once.
#pragma once
#include "attention.h"

namespace bhvit::ISA {

// The average of the patch of ratio x ratio tokens of u that key i stands for.
static void average_patch(const GlobalShape &shape, const float *u, int i, float *out) {
  const int channels = shape.channels, ratio = shape.ratio;
  const float *corner = u + (int64_t(i / shape.across) * ratio * shape.side + i % shape.across * ratio) * channels;
  memcpy(out, corner, size_t(channels) * sizeof(float));
  for (int j = 1; j < ratio * ratio; ++j) add_row(channels, corner + (int64_t(j / ratio) * shape.side + j % ratio) * channels, out);
  for (int c = 0; c < channels; ++c) out[c] *= 1.0f / float(ratio * ratio);
}

// Keys and values from the reduced averages; the sums of both to b.tokens.
static void reduced_projections(Run &run, const bhvit_attention &a, const AttentionConstants &k, const GlobalShape &shape) {
  const int channels = shape.channels;
  const bhvit_residual &reduction = *a.reduction;
  run.tiles(shape.rows, TILE, [&](int first, int count, Scratch &s) {
    for (int t = 0; t < count; ++t) average_patch(shape, run.buffers.normed, first + t, s.rows + int64_t(t) * channels);
    const float *rows[TILE];
    tile_rows(s.rows, channels, 0, count, rows);
    operand_of_rows(reduction.product, 0, rows, s.pooled, s.zeros, s.operand);
    columns_of(rows, 0, channels, s.residual);
    each_normed_column(reduction.product, k.reduction, s.operand, s, [&](int c, const F *y) {
      const F slope = set(reduction.rprelu.slope[c]), last = set(reduction.rprelu.shift_out[c]);
      UNROLL for (int r = 0; r < ROWS; ++r) {
        float *at = s.residual + c * TILE + r * LANES;
        store(at, add(prelu(add(y[r], load(at)), slope), last));
      }
    });
    rows_of(s.residual, channels, s.rows);
    for (int t = 0; t < TILE; ++t) rows[t] = s.rows + int64_t(t) * channels;
    project_rows(run, a, k, shape, rows, 1, 3, first, run.buffers.tokens, s);
  });
}

// The panels of head h: its keys as weights of queries, its values as weights of probabilities.
static void binary_panels(Buffers &b, const GlobalShape &shape, int h, uint32_t *keys, uint32_t *values) {
  const int words = words_of(shape.head), key_words = words_of(shape.rows), stride = shape.heads * words;
  for (int k = 0; k < shape.rows; ++k) {
    uint32_t *panel = keys + int64_t(k / PANEL) * words * PANEL + k % PANEL;
    for (int w = 0; w < words; ++w) panel[w * PANEL] = b.key_bits[int64_t(k) * stride + h * words + w];
  }
  for (int c = 0; c < shape.head; ++c) {
    const uint8_t *bits = b.value_bits + (h * shape.head + c) * shape.value_row_bytes();
    uint32_t *panel = values + int64_t(c / PANEL) * key_words * PANEL + c % PANEL;
    int ones = 0;
    for (int w = 0; w < key_words; ++w) {
      const int rest = shape.rows - w * 32;
      panel[w * PANEL] = bits_at(bits, int64_t(w) * 32, rest < 32 ? rest : 32);
      ones += __builtin_popcount(panel[w * PANEL]);
    }
    b.ones[h * shape.head + c] = float(ones);
  }
}

static void real_panels_of_head(const Buffers &b, const GlobalShape &shape, int h, float *keys, float *values) {
  const int head = shape.head;
  for (int k = 0; k < shape.rows; ++k) {
    const float *key = b.key + int64_t(k) * shape.channels + h * head, *value = b.value + int64_t(k) * shape.channels + h * head;
    for (int c = 0; c < head; ++c) {
      keys[(int64_t(k / PANEL) * head + c) * PANEL + k % PANEL] = key[c];
      values[(int64_t(c / PANEL) * shape.rows + k) * PANEL + c % PANEL] = value[c];
    }
  }
}

static void attention_panels(Run &run, const bhvit_attention &a, const GlobalShape &shape) {
  parallel_for(run.pool, shape.heads, [&](int h, int) {
    uint32_t *keys = run.buffers.panels + h * shape.panel_words(a.kind), *values = keys + shape.key_words(a.kind);
    memset(keys, 0, size_t(shape.panel_words(a.kind)) * sizeof(uint32_t)); // columns that fill up a panel
    if (a.kind == BHVIT_BINARY) binary_panels(run.buffers, shape, h, keys, values);
    else real_panels_of_head(run.buffers, shape, h, (float *)keys, (float *)values);
  });
}

// s.planes [word][TILE]: the bits P > scale / 2 of probabilities P over `keys`, from the differing bits of their scores
// (head - 2 n) / sqrt(head). With E = e^score, P > scale / 2 where E > scale / 2 * sum of E.
static void probability_bits(int keys, int head, float scale, Scratch &s) {
  const F factor = set(2.0f / sqrtf(float(head)));
  F limit[ROWS];
  for (int r = 0; r < ROWS; ++r) {
    float *lane = s.scores + r * LANES;
    F fewest = load(lane), total = set(0.0f);
    for (int k = 1; k < keys; ++k) fewest = min(fewest, load(lane + k * TILE));
    for (int k = 0; k < keys; ++k) {
      const F e = exp_negative(mul(sub(fewest, load(lane + k * TILE)), factor));
      store(lane + k * TILE, e);
      total = add(total, e);
    }
    limit[r] = mul(total, set(0.5f * scale));
  }
  Bits bits[ROWS][32];
  for (int w = 0; w < words_of(keys); ++w) {
    const int count = keys - w * 32 < 32 ? keys - w * 32 : 32;
    for (int r = 0; r < ROWS; ++r) {
      for (int i = 0; i < count; ++i)
        bits[r][i] = Bits(at_least(limit[r], load(s.scores + (w * 32 + i) * TILE + r * LANES)) ^ ((1u << LANES) - 1));
      for (int i = count; i < 32; ++i) bits[r][i] = 0;
    }
    transpose_bits(bits, s.planes + w * TILE);
  }
}

// s.columns of head h: context of binary queries, keys and values.
static void binary_head_of_tile(const Buffers &b, const bhvit_attention &a, const GlobalShape &shape, int first, int count, int h, Scratch &s) {
  const int words = words_of(shape.head), key_words = words_of(shape.rows), stride = shape.heads * words;
  const uint32_t *keys = b.panels + h * shape.panel_words(a.kind), *values = keys + shape.key_words(a.kind);
  for (int t = 0; t < TILE; ++t) {
    const uint32_t *query = b.query_bits + int64_t(first + (t < count ? t : 0)) * stride + h * words;
    for (int w = 0; w < words; ++w) s.planes[w * TILE + t] = query[w];
  }
  for (int k = 0; k < shape.rows; k += PANEL)
    count_panel(s.planes, keys + int64_t(k) * words, words, shape.rows - k < PANEL ? shape.rows - k : PANEL, 0, s.scores + k * TILE);
  probability_bits(shape.rows, shape.head, a.probability_scale[h], s);
  const F scale = set(a.probability_scale[h]);
  for (int c = 0; c < shape.head; c += PANEL) { // the sum of v over the bits set is (ones of v) - (differing bits)
    const int columns = shape.head - c < PANEL ? shape.head - c : PANEL;
    const float *ones = b.ones + h * shape.head + c;
    float *out = s.columns + int64_t(h * shape.head + c) * TILE;
    count_panel(s.planes, values + int64_t(c) * key_words, key_words, columns, 0, s.y);
    for (int i = 0; i < columns; ++i)
      for (int r = 0; r < ROWS; ++r) store(out + i * TILE + r * LANES, mul(scale, sub(set(ones[i]), load(s.y + i * TILE + r * LANES))));
  }
}

static void real_head_of_tile(const Buffers &b, const bhvit_attention &a, const GlobalShape &shape, int first, int count, int h, Scratch &s) {
  const float *keys = (const float *)(b.panels + h * shape.panel_words(a.kind)), *values = keys + shape.key_words(a.kind), *rows[TILE];
  tile_rows(b.query, shape.channels, first, count, rows);
  columns_of(rows, h * shape.head, shape.head, (float *)s.planes);
  real_probabilities(a, h, shape.head, shape.rows, (const float *)s.planes, keys, count, s);
  real_context(a, h, shape.head, shape.rows, values, count, s);
}

// s.residual: the unquantized queries, keys and values of a tile.
static void residuals_of_tile(const Buffers &b, const GlobalShape &shape, int first, int count, Scratch &s) {
  const float *rows[TILE];
  tile_rows(b.sums, shape.channels, first, count, rows);
  columns_of(rows, 0, shape.channels, s.residual);
  if (shape.ratio == 1) return; // `sums` has all three
  for (int t = 0; t < TILE; ++t) rows[t] = b.tokens + int64_t(shape.key_of(first + (t < count ? t : count - 1))) * shape.channels;
  columns_of(rows, 0, shape.channels, s.pooled);
  add_row(shape.channels * TILE, s.pooled, s.residual);
}

// map += attention(norm_before(map))
static void run_global_attention(Run &run, const bhvit_attention &a, int side, int channels) {
  Buffers &b = run.buffers;
  const GlobalShape shape(a, side, channels);
  Constants constants = {b.constants};
  float *threshold = constants.take(channels); // of the output's operand
  for (int c = 0; c < channels; ++c) threshold[c] = a.output.product.shift ? -a.output.product.shift[c] : 0.0f;
  const AttentionConstants k = fold_attention(a, channels, constants);
  run.norm_map(a.norm_before, shape.tokens, channels, b.map, b.normed);
  attention_projections(run, a, k, shape, b.normed, shape.tokens, a.reduction ? 1 : 3);
  if (a.reduction) reduced_projections(run, a, k, shape);
  attention_panels(run, a, shape);
  run.tiles(shape.tokens, tile_of(a.output.product), [&](int first, int count, Scratch &s) {
    for (int h = 0; h < shape.heads; ++h) {
      if (a.kind == BHVIT_BINARY) binary_head_of_tile(b, a, shape, first, count, h, s);
      else real_head_of_tile(b, a, shape, first, count, h, s);
    }
    residuals_of_tile(b, shape, first, count, s);
    OperandWriter writer = {a.output.product, threshold, s.operand, {}};
    each_context_column(a, k, channels, s, [&](int c, const F *z) {
      writer.put(c, z);
      UNROLL for (int r = 0; r < ROWS; ++r) store(s.residual + c * TILE + r * LANES, z[r]);
    });
    writer.finish();
    output_tile(run, a, k, channels, first, count, s);
  });
}

} // namespace bhvit::ISA
