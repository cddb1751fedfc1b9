// Products of operand tiles with weight panels of 16 output columns.
#pragma once
#include "operand.h"

namespace bhvit::ISA {

constexpr int PANEL = BHVIT_PANEL;
constexpr int CHUNK = 256; // inputs whose weights are widened at once: 16 KiB

#define UNROLL _Pragma("GCC unroll 16")

// y[column][TILE]: how many bits of the operand and of the column's weights differ.
static void count_panel(const uint32_t *x, const uint32_t *w, int words, int columns, float *y) {
  for (int first = 0; first < columns; first += COLUMNS) {
    I total[COLUMNS][ROWS];
    UNROLL for (int c = 0; c < COLUMNS; ++c) UNROLL for (int r = 0; r < ROWS; ++r) total[c][r] = zero_words();
    for (int begin = 0; begin < words; begin += COUNT_WORDS) {
      const int end = words - begin < COUNT_WORDS ? words : begin + COUNT_WORDS;
      Count n[COLUMNS][ROWS];
      UNROLL for (int c = 0; c < COLUMNS; ++c) UNROLL for (int r = 0; r < ROWS; ++r) n[c][r] = no_count();
      for (int k = begin; k < end; ++k) {
        I a[ROWS];
        UNROLL for (int r = 0; r < ROWS; ++r) a[r] = load_words(x + k * TILE + r * LANES);
        UNROLL for (int c = 0; c < COLUMNS; ++c) {
          const I b = set_word(w[k * PANEL + first + c]);
          UNROLL for (int r = 0; r < ROWS; ++r) n[c][r] = count_different(n[c][r], a[r], b);
        }
      }
      UNROLL for (int c = 0; c < COLUMNS; ++c) UNROLL for (int r = 0; r < ROWS; ++r) total[c][r] = add_words(total[c][r], counted(n[c][r]));
    }
    UNROLL for (int c = 0; c < COLUMNS; ++c) UNROLL for (int r = 0; r < ROWS; ++r)
      store(y + (first + c) * TILE + r * LANES, to_float(total[c][r]));
  }
}

// y (+)= x w: x [inputs][TILE], w [inputs][16]
static void fma_panel(const float *x, const float *w, int inputs, int columns, bool more, float *y) {
  for (int first = 0; first < columns; first += COLUMNS) {
    F acc[COLUMNS][ROWS];
    UNROLL for (int c = 0; c < COLUMNS; ++c) UNROLL for (int r = 0; r < ROWS; ++r)
      acc[c][r] = more ? load(y + (first + c) * TILE + r * LANES) : set(0.0f);
    for (int k = 0; k < inputs; ++k) {
      F a[ROWS];
      UNROLL for (int r = 0; r < ROWS; ++r) a[r] = load(x + k * TILE + r * LANES);
      UNROLL for (int c = 0; c < COLUMNS; ++c) {
        const F b = set(w[k * PANEL + first + c]);
        UNROLL for (int r = 0; r < ROWS; ++r) acc[c][r] = fma(a[r], b, acc[c][r]);
      }
    }
    UNROLL for (int c = 0; c < COLUMNS; ++c) UNROLL for (int r = 0; r < ROWS; ++r)
      store(y + (first + c) * TILE + r * LANES, acc[c][r]);
  }
}

// total (+)= x w: pairs of int16 in x [pairs][TILE] and w [pairs][16]
static void pair_panel(const uint32_t *x, const uint32_t *w, int pairs, int columns, bool more, uint32_t *total) {
  for (int first = 0; first < columns; first += COLUMNS) {
    I acc[COLUMNS][ROWS];
    UNROLL for (int c = 0; c < COLUMNS; ++c) UNROLL for (int r = 0; r < ROWS; ++r)
      acc[c][r] = more ? load_words(total + (first + c) * TILE + r * LANES) : zero_words();
    for (int k = 0; k < pairs; ++k) {
      I a[ROWS];
      UNROLL for (int r = 0; r < ROWS; ++r) a[r] = load_words(x + k * TILE + r * LANES);
      UNROLL for (int c = 0; c < COLUMNS; ++c) {
        const I b = set_word(w[k * PANEL + first + c]);
        UNROLL for (int r = 0; r < ROWS; ++r) acc[c][r] = multiply_pairs(acc[c][r], a[r], b);
      }
    }
    UNROLL for (int c = 0; c < COLUMNS; ++c) UNROLL for (int r = 0; r < ROWS; ++r)
      store_words(total + (first + c) * TILE + r * LANES, acc[c][r]);
  }
}

INLINE uint32_t int16_pair(int low, int high) { return (uint32_t(low) & 0xffff) | uint32_t(high) << 16; }

// `count` pairs of a panel's levels from pair `first` on, widened to int16.
static void widen_levels(const bhvit_product &p, const uint8_t *w, int first, int count, uint32_t *out) {
  for (int i = 0; i < count * PANEL; ++i) {
    const int64_t at = int64_t(first) * PANEL + i;
    if (p.kind == BHVIT_INT8) out[i] = int16_pair(int8_t(w[2 * at]), int8_t(w[2 * at + 1]));
    else out[i] = int16_pair(int8_t(uint8_t(w[at] << 4)) >> 4, int8_t(w[at]) >> 4);
  }
}

// Accumulators y[column][TILE] of one panel: differing bits (binary), else the sum of products. `chunk`: CHUNK * 16 words.
static void panel_product(const bhvit_product &p, const uint32_t *x, int64_t panel, int columns, uint32_t *chunk, float *y) {
  const int depth = depth_of(p);
  const int64_t at = panel * depth * PANEL; // in operand rows
  switch (p.kind) {
  case BHVIT_BINARY: count_panel(x, (const uint32_t *)p.weight + at, depth, columns, y); return;
  case BHVIT_FP32: fma_panel((const float *)x, (const float *)p.weight + at, depth, columns, false, y); return;
  case BHVIT_FP16:
    for (int k = 0; k < depth; k += CHUNK) {
      const int n = depth - k < CHUNK ? depth - k : CHUNK;
      const uint16_t *halves = (const uint16_t *)p.weight + at + int64_t(k) * PANEL;
      for (int i = 0; i < n * PANEL; i += LANES) store((float *)chunk + i, half_to_float(halves + i));
      fma_panel((const float *)x + k * TILE, (const float *)chunk, n, columns, k > 0, y);
    }
    return;
  default: {
    const uint8_t *levels = (const uint8_t *)p.weight + at * (p.kind == BHVIT_INT8 ? 2 : 1);
    uint32_t *total = (uint32_t *)y;
    for (int k = 0; k < depth; k += CHUNK) {
      const int n = depth - k < CHUNK ? depth - k : CHUNK;
      widen_levels(p, levels, k, n, chunk);
      pair_panel(x + k * TILE, chunk, n, columns, k > 0, total);
    }
    for (int i = 0; i < PANEL * TILE; i += LANES) store(y + i, to_float(load_words(total + i)));
  }
  }
}

// value = accumulator * factor + offset, the norm that follows included where it is folded
struct Affine { float factor, offset; };

INLINE Affine affine_of(const bhvit_product &p, const bhvit_norm *norm, int column) {
  float factor = p.scale ? p.scale[column] : 1.0f, offset = p.bias ? p.bias[column] : 0.0f;
  if (norm && !norm->layer) {
    factor *= norm->scale[column];
    offset = offset * norm->scale[column] + norm->shift[column];
  }
  if (p.kind == BHVIT_BINARY) {
    offset += factor * float(p.taps * p.channels);
    factor *= -2.0f;
  }
  return {factor, offset};
}

struct Scratch {
  uint32_t *operand, *operand2; // of products
  float *residual, *columns, *pooled; // [channels][TILE]
  float *wide;                  // [columns of a product][TILE], only with LayerNorm
  float *rows;                  // [TILE][channels]
  uint32_t *chunk;              // [CHUNK][16]
  float *y;                     // [16][TILE]
  float *scores;                // attention: [keys to a multiple of 16][TILE]
  uint32_t *weights;            // attention: panels of keys and values
  uint32_t *planes;             // attention: queries or probabilities as an operand
  const float *zeros;
};

// sink(column, values[ROWS]) for every column of a group, in order; values are normalised if the norm is folded.
template <class Sink>
INLINE void each_column(const bhvit_product &p, const bhvit_norm *norm, int group, const uint32_t *x, Scratch &s, Sink sink) {
  const int panels = (p.columns + PANEL - 1) / PANEL;
  for (int panel = 0; panel < panels; ++panel) {
    const int columns = p.columns - panel * PANEL < PANEL ? p.columns - panel * PANEL : PANEL;
    panel_product(p, x, int64_t(group) * panels + panel, columns, s.chunk, s.y);
    for (int i = 0; i < columns; ++i) {
      const int column = group * p.columns + panel * PANEL + i;
      const Affine affine = affine_of(p, norm, column);
      F y[ROWS];
      UNROLL for (int r = 0; r < ROWS; ++r) y[r] = fma(load(s.y + i * TILE + r * LANES), set(affine.factor), set(affine.offset));
      sink(column, y);
    }
  }
}

// sink(column, values[ROWS]) with norm(product), for a product of one group.
template <class Sink>
INLINE void each_normed_column(const bhvit_product &p, const bhvit_norm &norm, const uint32_t *x, Scratch &s, Sink sink) {
  if (!norm.layer) {
    each_column(p, &norm, 0, x, s, sink);
    return;
  }
  each_column(p, nullptr, 0, x, s, [&](int c, const F *y) {
    UNROLL for (int r = 0; r < ROWS; ++r) store(s.wide + c * TILE + r * LANES, y[r]);
  });
  layer_norm_tile(norm, p.columns, s.wide);
  for (int c = 0; c < p.columns; ++c) {
    F y[ROWS];
    UNROLL for (int r = 0; r < ROWS; ++r) y[r] = load(s.wide + c * TILE + r * LANES);
    sink(c, y);
  }
}

} // namespace bhvit::ISA
