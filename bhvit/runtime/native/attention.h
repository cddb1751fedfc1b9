// Attention within windows of g x g tokens that also see the map's summary tokens (MSMHA).
// Rows: the tokens window by window, then one summary token a window. What is projected from a summary token is the same in
// every window, so it is computed once; only its attention differs.
#pragma once
#include "buffers.h"

namespace bhvit::ISA {

// Summary token i of u: mix * maxpool + (1 - mix) * avgpool; kernel and stride g, padding g / 2 that the average counts.
static void summary_token(const AttentionShape &shape, const float *mix, const float *u, int i, float *out) {
  const int g = shape.window, channels = shape.channels, top = i / shape.across * g - g / 2, left = i % shape.across * g - g / 2;
  const int top_row = top > 0 ? top : 0, left_column = left > 0 ? left : 0; // nothing lies beyond the other borders
  const float share = 1.0f / float(g * g);
  int c = 0;
  for (; c + LANES <= channels; c += LANES) {
    F largest = set(-INFINITY), total = set(0.0f);
    for (int y = top_row; y < top + g; ++y)
      for (int x = left_column; x < left + g; ++x) {
        const F value = load(u + (int64_t(y) * shape.side + x) * channels + c);
        largest = max(largest, value);
        total = add(total, value);
      }
    const F average = mul(total, set(share));
    store(out + c, fma(load(mix + c), sub(largest, average), average));
  }
  for (; c < channels; ++c) {
    float largest = -INFINITY, total = 0;
    for (int y = top_row; y < top + g; ++y)
      for (int x = left_column; x < left + g; ++x) {
        const float value = u[(int64_t(y) * shape.side + x) * channels + c];
        largest = value > largest ? value : largest;
        total += value;
      }
    out[c] = total * share + mix[c] * (largest - total * share);
  }
}

struct AttentionConstants {
  const bhvit_projection *projections[3]; // query, key, value
  Normed project[3], output;           // without the RPReLU's first shift
  float *threshold[3];                 // of what attends: both shifts that follow the PReLU
  const float *scale;                  // of the context
  float *shift;                        // of the context: its norm, the residuals' and the RPReLU's shifts
  const float *alpha;
  float *base;                         // output = PReLU * alpha + base
};

static AttentionConstants fold_attention(const bhvit_attention &a, int channels, Constants constants) {
  AttentionConstants k;
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
  k.alpha = a.layer_scale.alpha;
  k.base = constants.take(channels);
  for (int c = 0; c < channels; ++c) {
    k.output.last()[c] -= a.output.rprelu.shift_in[c];
    k.base[c] = a.output.rprelu.shift_out[c] * k.alpha[c] + a.layer_scale.shift[c];
  }
  return k;
}

static void attention_rows(Run &run, const bhvit_attention &a, const AttentionShape &shape) {
  Buffers &b = run.buffers;
  const int c = shape.channels;
  run.norm_map(a.norm_before, shape.side * shape.side, c, b.map, b.normed);
  parallel_for(run.pool, shape.rows, [&](int row, int) {
    const int tokens = shape.side * shape.side;
    float *out = b.tokens + int64_t(row) * c;
    if (row >= tokens) summary_token(shape, a.summary_mix, b.normed, row - tokens, out);
    norm_row(a.token_norm, c, row >= tokens ? out : b.normed + int64_t(shape.pixel(row / shape.area, row % shape.area)) * c, out);
  });
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

// One of the projections of a tile of rows (0 query, 1 key, 2 value): its sum with the others, and what attends.
static void project_tile(Run &run, const bhvit_attention &a, const AttentionConstants &k, const AttentionShape &shape, int which, int first, Scratch &s) {
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
      store(sum, which ? add(load(sum), z[r]) : z[r]);
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

static void attention_projections(Run &run, const bhvit_attention &a, const AttentionConstants &k, const AttentionShape &shape) {
  run.tiles(shape.rows, TILE, [&](int first, int count, Scratch &s) {
    const float *rows[TILE];
    tile_rows(run.buffers.tokens, shape.channels, first, count, rows);
    columns_of(rows, 0, shape.channels, s.residual);
    for (int which = 0; which < 3; ++which) {
      operand_of_rows(k.projections[which]->project.product, 0, rows, s.pooled, s.zeros, s.operand);
      project_tile(run, a, k, shape, which, first, s);
    }
    rows_of(s.columns, shape.channels, run.buffers.sums + int64_t(first) * shape.channels);
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

// Probabilities in levels 0..3 as two bit planes: s.planes [plane][word][TILE].
static void probability_planes(int keys, float alpha, float zero, Scratch &s) {
  const int words = words_of(keys);
  const F factor = set(3.0f / alpha), offset = set(zero);
  Bits low[ROWS][32], high[ROWS][32];
  for (int w = 0; w < words; ++w) {
    for (int i = 0; i < 32; ++i)
      for (int r = 0; r < ROWS; ++r) {
        const int k = w * 32 + i;
        low[r][i] = high[r][i] = 0;
        if (k >= keys) continue;
        const F level = max(min(round(fma(load(s.scores + k * TILE + r * LANES), factor, offset)), set(3.0f)), set(0.0f));
        const uint32_t two = at_least(level, set(2.0f));
        high[r][i] = Bits(two);
        low[r][i] = Bits((at_least(level, set(1.0f)) & ~two) | at_least(level, set(3.0f)));
      }
    transpose_bits(low, s.planes + w * TILE);
    transpose_bits(high, s.planes + (words + w) * TILE);
  }
}

struct Task { int window, first, count; }; // queries [first, first + count) of a window

// s.columns [channels of one head from h * head][TILE]: context of binary queries, keys and values.
static void binary_head(Run &run, const bhvit_attention &a, const AttentionShape &shape, const Task &task, int h, Scratch &s) {
  const Buffers &b = run.buffers;
  const int words = words_of(shape.head), key_words = words_of(shape.keys), stride = shape.heads * words;
  const int64_t row_bytes = shape.value_row_bytes();
  for (int t = 0; t < TILE; ++t) {
    const int row = shape.row(task.window, task.first + (t < task.count ? t : 0));
    for (int w = 0; w < words; ++w) s.planes[w * TILE + t] = b.query_bits[int64_t(row) * stride + h * words + w];
  }
  for (int k = 0; k < shape.keys; ++k) {
    uint32_t *panel = s.weights + k / PANEL * words * PANEL + k % PANEL;
    for (int w = 0; w < words; ++w) panel[w * PANEL] = b.key_bits[int64_t(shape.row(task.window, k)) * stride + h * words + w];
  }
  for (int k = 0; k < shape.keys; k += PANEL)
    count_panel(s.planes, s.weights + k * words, words, shape.keys - k < PANEL ? shape.keys - k : PANEL, 0, s.scores + k * TILE);
  for (int r = 0; r < ROWS; ++r) { // scores are (head - 2 n) / sqrt(head), n differing bits
    for (int k = 0; k < shape.keys; ++k) {
      float *at = s.scores + k * TILE + r * LANES;
      store(at, sub(set(0.0f), load(at)));
    }
    softmax(shape.keys, 2.0f / sqrtf(float(shape.head)), r, s.scores);
  }
  const float alpha = a.probability_scale[h];
  probability_planes(shape.keys, alpha, a.probability_zero[h], s);
  for (int c = 0; c < shape.head; ++c) {
    const uint8_t *bits = b.value_bits + (h * shape.head + c) * row_bytes;
    uint32_t *panel = s.weights + c / PANEL * key_words * PANEL + c % PANEL;
    for (int w = 0; w < key_words; ++w) { // local keys lie side by side, summary keys follow
      const int k = w * 32, local = shape.area - k < 0 ? 0 : shape.area - k < 32 ? shape.area - k : 32;
      const int rest = shape.keys - k < 32 ? shape.keys - k - local : 32 - local;
      uint32_t word = local ? bits_at(bits, int64_t(task.window) * shape.area + k, local) : 0;
      if (rest) word |= bits_at(bits, shape.side * shape.side + k + local - shape.area, rest) << local;
      panel[w * PANEL] = word;
    }
  }
  // With p of the plane's bits set among the keys, v_j = 2 b_j - 1: sum over set j of v_j = (ones of v) - (differing bits).
  for (int c = 0; c < shape.head; c += PANEL) {
    const int columns = shape.head - c < PANEL ? shape.head - c : PANEL;
    const uint32_t *panel = s.weights + c * key_words;
    float *out = s.columns + int64_t(h * shape.head + c) * TILE;
    count_panel(s.planes, panel, key_words, columns, 0, s.y);
    for (int i = 0; i < columns; ++i) {
      int ones = 0;
      for (int w = 0; w < key_words; ++w) ones += __builtin_popcount(panel[w * PANEL + i]);
      for (int r = 0; r < ROWS; ++r)
        store(out + i * TILE + r * LANES, sub(set(3.0f * float(ones)), load(s.y + i * TILE + r * LANES)));
    }
    count_panel(s.planes + key_words * TILE, panel, key_words, columns, 0, s.y);
    for (int i = 0; i < columns * TILE; i += LANES)
      store(out + i, mul(set(alpha), fma(set(-2.0f), load(s.y + i), load(out + i))));
  }
}

// The same of real-valued queries, keys and values, or of integer levels, whose sums float holds exactly (int8: in heads of up to
// 1,024 channels and windows of up to 514 keys).
static void real_head(Run &run, const bhvit_attention &a, const AttentionShape &shape, const Task &task, int h, Scratch &s) {
  const Buffers &b = run.buffers;
  const int head = shape.head, offset = h * head, keys = shape.keys;
  const float *rows[TILE];
  for (int t = 0; t < TILE; ++t) rows[t] = b.query + int64_t(shape.row(task.window, task.first + (t < task.count ? t : 0))) * shape.channels;
  float *queries = (float *)s.planes, *weights = (float *)s.weights;
  columns_of(rows, offset, head, queries);
  for (int k = 0; k < keys; ++k)
    for (int c = 0; c < head; ++c) weights[(k / PANEL * head + c) * PANEL + k % PANEL] = b.key[int64_t(shape.row(task.window, k)) * shape.channels + offset + c];
  for (int k = 0; k < keys; k += PANEL)
    fma_panel(queries, weights + k * head, head, task.count, s.scores + k * TILE);
  const bool levels = a.kind <= BHVIT_INT8;
  const float factor = (levels ? a.query.step * a.key.step : 1.0f) / sqrtf(float(head));
  for (int r = 0; r < ROWS; ++r) softmax(keys, factor, r, s.scores);
  const float top = float((1 << bits_of(a.kind)) - 1);
  if (levels)
    for (int i = 0; i < keys * TILE; i += LANES) {
      const F level = round(div(load(s.scores + i), set(a.probability_scale[h])));
      store(s.scores + i, max(min(level, set(top)), set(0.0f)));
    }
  for (int k = 0; k < keys; ++k)
    for (int c = 0; c < head; ++c) weights[(c / PANEL * keys + k) * PANEL + c % PANEL] = b.value[int64_t(shape.row(task.window, k)) * shape.channels + offset + c];
  const float scale = levels ? a.probability_scale[h] * a.value.step : 1.0f;
  for (int c = 0; c < head; c += PANEL) {
    const int columns = head - c < PANEL ? head - c : PANEL;
    fma_panel(s.scores, weights + c * keys, keys, task.count, s.y);
    for (int i = 0; i < columns * TILE; i += LANES) store(s.columns + int64_t(offset + c) * TILE + i, mul(load(s.y + i), set(scale)));
  }
}

// Context with its residuals: RPReLU(norm(context) + q + k + v), to b.local (at its pixel) or b.summary.
static void attend_task(Run &run, const bhvit_attention &a, const AttentionConstants &k, const AttentionShape &shape, const Task &task, Scratch &s) {
  const Buffers &b = run.buffers;
  const int channels = shape.channels;
  for (int h = 0; h < shape.heads; ++h) {
    if (a.kind == BHVIT_BINARY) binary_head(run, a, shape, task, h, s);
    else real_head(run, a, shape, task, h, s);
  }
  if (a.norm.layer) standardise_tile(channels, s.columns);
  const float *rows[TILE];
  for (int t = 0; t < TILE; ++t) rows[t] = b.sums + int64_t(shape.row(task.window, task.first + (t < task.count ? t : 0))) * channels;
  columns_of(rows, 0, channels, s.residual);
  for (int c = 0; c < channels; ++c) {
    const F scale = set(k.scale[c]), shift = set(k.shift[c]), slope = set(a.rprelu.slope[c]), last = set(a.rprelu.shift_out[c]);
    UNROLL for (int r = 0; r < ROWS; ++r) {
      float *at = s.columns + c * TILE + r * LANES;
      store(at, add(prelu(add(fma(load(at), scale, shift), load(s.residual + c * TILE + r * LANES)), slope), last));
    }
  }
  rows_of(s.columns, channels, s.rows);
  for (int t = 0; t < task.count; ++t) {
    const int i = task.first + t;
    float *to = i < shape.area ? b.local + int64_t(shape.pixel(task.window, i)) * channels
                               : b.summary + (int64_t(task.window) * shape.windows + i - shape.area) * channels;
    memcpy(to, s.rows + t * channels, size_t(channels) * sizeof(float));
  }
}

// b.local = mix * local + (1 - mix) * the summary token of the pixel's window, averaged over the windows.
static void mix_summary(Run &run, const bhvit_attention &a, const AttentionShape &shape) {
  Buffers &b = run.buffers;
  const int channels = shape.channels;
  parallel_for(run.pool, shape.windows, [&](int w, int thread) {
    float *overview = b.scratch[thread].rows;
    memcpy(overview, b.summary + int64_t(w) * channels, size_t(channels) * sizeof(float));
    for (int other = 1; other < shape.windows; ++other) add_row(channels, b.summary + (int64_t(other) * shape.windows + w) * channels, overview);
    for (int c = 0; c < channels; ++c) overview[c] /= float(shape.windows);
    for (int i = 0; i < shape.area; ++i) {
      float *local = b.local + int64_t(shape.pixel(w, i)) * channels;
      for (int c = 0; c < channels; ++c) local[c] = overview[c] + a.mix[c] * (local[c] - overview[c]);
    }
  });
}

// map += LayerScale(RPReLU(norm(product(m)) + m)), m in b.local
static void attention_output(Run &run, const bhvit_attention &a, const AttentionConstants &k, const AttentionShape &shape) {
  const int channels = shape.channels;
  run.tiles(shape.side * shape.side, tile_of(a.output.product), [&](int first, int count, Scratch &s) {
    const float *rows[TILE];
    tile_rows(run.buffers.local, channels, first, count, rows);
    operand_of_rows(a.output.product, 0, rows, s.pooled, s.zeros, s.operand);
    columns_of(rows, 0, channels, s.residual);
    each_normed_column(a.output.product, k.output, s.operand, s, [&](int c, const F *y) {
      const F slope = set(a.output.rprelu.slope[c]), alpha = set(k.alpha[c]), base = set(k.base[c]);
      UNROLL for (int r = 0; r < ROWS; ++r) {
        const F z = prelu(add(y[r], load(s.residual + c * TILE + r * LANES)), slope);
        store(s.columns + c * TILE + r * LANES, fma(z, alpha, base));
      }
    });
    rows_of(s.columns, channels, s.rows);
    for (int t = 0; t < count; ++t) add_row(channels, s.rows + t * channels, run.buffers.map + int64_t(first + t) * channels);
  });
}

// map += attention(norm_before(map))
static void run_attention(Run &run, const bhvit_attention &a, int side, int channels) {
  const AttentionShape shape(a, side, channels);
  const AttentionConstants k = fold_attention(a, channels, {run.buffers.constants});
  attention_rows(run, a, shape);
  attention_projections(run, a, k, shape);
  const int chunks = (shape.keys + TILE - 1) / TILE;
  parallel_for(run.pool, shape.windows * chunks, [&](int i, int thread) {
    const int first = i % chunks * TILE, rest = shape.keys - first;
    attend_task(run, a, k, shape, {i / chunks, first, rest < TILE ? rest : TILE}, run.buffers.scratch[thread]);
  });
  mix_summary(run, a, shape);
  attention_output(run, a, k, shape);
}

} // namespace bhvit::ISA
