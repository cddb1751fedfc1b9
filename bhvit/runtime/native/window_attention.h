// Attention within windows of g x g tokens that also see the map's summary tokens (MSMHA).
// Rows: the tokens window by window, then one summary token a window. What is projected from a summary token is the same in
// every window, so it is computed once; only its attention differs.
#pragma once
#include "attention.h"

namespace bhvit::ISA {

// Summary token i of u: mix * maxpool + (1 - mix) * avgpool; kernel and stride g, padding g / 2 that the average counts.
static void summary_token(const WindowShape &shape, const float *mix, const float *u, int i, float *out) {
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

static void attention_rows(Run &run, const bhvit_attention &a, const WindowShape &shape) {
  Buffers &b = run.buffers;
  const int c = shape.channels;
  run.norm_map(a.norm_before, shape.side * shape.side, c, b.map, b.normed);
  parallel_for(run.pool, shape.rows, [&](int row, int) {
    const int tokens = shape.side * shape.side;
    float *out = b.tokens + int64_t(row) * c;
    if (row >= tokens) summary_token(shape, a.windows->summary_mix, b.normed, row - tokens, out);
    norm_row(a.windows->token_norm, c, row >= tokens ? out : b.normed + int64_t(shape.pixel(row / shape.area, row % shape.area)) * c, out);
  });
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
static void binary_head(Run &run, const bhvit_attention &a, const WindowShape &shape, const Task &task, int h, Scratch &s) {
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

// The same of real-valued queries, keys and values, or of integer levels.
static void real_head(Run &run, const bhvit_attention &a, const WindowShape &shape, const Task &task, int h, Scratch &s) {
  const Buffers &b = run.buffers;
  const int head = shape.head, offset = h * head, keys = shape.keys;
  const float *rows[TILE];
  for (int t = 0; t < TILE; ++t) rows[t] = b.query + int64_t(shape.row(task.window, task.first + (t < task.count ? t : 0))) * shape.channels;
  float *queries = (float *)s.planes, *weights = (float *)s.weights;
  columns_of(rows, offset, head, queries);
  for (int k = 0; k < keys; ++k)
    for (int c = 0; c < head; ++c) weights[(k / PANEL * head + c) * PANEL + k % PANEL] = b.key[int64_t(shape.row(task.window, k)) * shape.channels + offset + c];
  real_probabilities(a, h, head, keys, queries, weights, task.count, s);
  for (int k = 0; k < keys; ++k)
    for (int c = 0; c < head; ++c) weights[(c / PANEL * keys + k) * PANEL + c % PANEL] = b.value[int64_t(shape.row(task.window, k)) * shape.channels + offset + c];
  real_context(a, h, head, keys, weights, task.count, s);
}

// Context with its residuals: RPReLU(norm(context) + q + k + v), to b.local (at its pixel) or b.summary.
static void attend_task(Run &run, const bhvit_attention &a, const AttentionConstants &k, const WindowShape &shape, const Task &task, Scratch &s) {
  const Buffers &b = run.buffers;
  const int channels = shape.channels;
  for (int h = 0; h < shape.heads; ++h) {
    if (a.kind == BHVIT_BINARY) binary_head(run, a, shape, task, h, s);
    else real_head(run, a, shape, task, h, s);
  }
  const float *rows[TILE];
  for (int t = 0; t < TILE; ++t) rows[t] = b.sums + int64_t(shape.row(task.window, task.first + (t < task.count ? t : 0))) * channels;
  columns_of(rows, 0, channels, s.residual);
  each_context_column(a, k, channels, s, [&](int c, const F *z) {
    UNROLL for (int r = 0; r < ROWS; ++r) store(s.columns + c * TILE + r * LANES, z[r]);
  });
  rows_of(s.columns, channels, s.rows);
  for (int t = 0; t < task.count; ++t) {
    const int i = task.first + t;
    float *to = i < shape.area ? b.local + int64_t(shape.pixel(task.window, i)) * channels
                               : b.summary + (int64_t(task.window) * shape.windows + i - shape.area) * channels;
    memcpy(to, s.rows + t * channels, size_t(channels) * sizeof(float));
  }
}

// b.local = mix * local + (1 - mix) * the summary token of the pixel's window, averaged over the windows.
static void mix_summary(Run &run, const bhvit_attention &a, const WindowShape &shape) {
  Buffers &b = run.buffers;
  const int channels = shape.channels;
  parallel_for(run.pool, shape.windows, [&](int w, int thread) {
    float *overview = b.scratch[thread].rows;
    memcpy(overview, b.summary + int64_t(w) * channels, size_t(channels) * sizeof(float));
    for (int other = 1; other < shape.windows; ++other) add_row(channels, b.summary + (int64_t(other) * shape.windows + w) * channels, overview);
    for (int c = 0; c < channels; ++c) overview[c] /= float(shape.windows);
    for (int i = 0; i < shape.area; ++i) {
      float *local = b.local + int64_t(shape.pixel(w, i)) * channels;
      for (int c = 0; c < channels; ++c) local[c] = overview[c] + a.windows->mix[c] * (local[c] - overview[c]);
    }
  });
}

// map += LayerScale(RPReLU(norm(product(m)) + m)), m in b.local
static void attention_output(Run &run, const bhvit_attention &a, const AttentionConstants &k, const WindowShape &shape) {
  const int channels = shape.channels;
  run.tiles(shape.side * shape.side, tile_of(a.output.product), [&](int first, int count, Scratch &s) {
    const float *rows[TILE];
    tile_rows(run.buffers.local, channels, first, count, rows);
    operand_of_rows(a.output.product, 0, rows, s.pooled, s.zeros, s.operand);
    columns_of(rows, 0, channels, s.residual);
    output_tile(run, a, k, channels, first, count, s);
  });
}

// map += attention(norm_before(map))
static void run_window_attention(Run &run, const bhvit_attention &a, int side, int channels) {
  const WindowShape shape(a, side, channels);
  const AttentionConstants k = fold_attention(a, channels, {run.buffers.constants});
  attention_rows(run, a, shape);
  attention_projections(run, a, k, shape, run.buffers.tokens, shape.rows, 3);
  const int chunks = (shape.keys + TILE - 1) / TILE;
  parallel_for(run.pool, shape.windows * chunks, [&](int i, int thread) {
    const int first = i % chunks * TILE, rest = shape.keys - first;
    attend_task(run, a, k, shape, {i / chunks, first, rest < TILE ? rest : TILE}, run.buffers.scratch[thread]);
  });
  mix_summary(run, a, shape);
  attention_output(run, a, k, shape);
}

} // namespace bhvit::ISA
