// Products of operand tiles with weight panels of 16 output columns.
#pragma once
#include "operand.h"

namespace bhvit::ISA {

constexpr int PANEL = BHVIT_PANEL;
constexpr int CHUNK = 256; // inputs, or pairs of them, whose weights are widened at once: 16 KiB
constexpr int INT32_PAIRS = (1 << 16) - CHUNK; // of int8 levels whose products an int32 adds up without overflow

#define UNROLL _Pragma("GCC unroll 16")

// Adds the differing bits of words [begin, end) to n.
INLINE void count_words(const uint32_t *x, const uint32_t *w, int begin, int end, Count (*n)[ROWS]) {
  for (int k = begin; k < end; ++k) {
    I a[ROWS];
    UNROLL for (int r = 0; r < ROWS; ++r) a[r] = load_words(x + k * TILE + r * LANES);
    UNROLL for (int c = 0; c < COLUMNS; ++c) {
      const I b = set_word(w[k * PANEL + c]);
      UNROLL for (int r = 0; r < ROWS; ++r) n[c][r] = count_different(n[c][r], a[r], b);
    }
  }
}

// y[column][TILE]: how many bits of the operand and of the column's weights differ, in all planes of those, less `half`.
template <int PLANES = 1>
static void count_panel(const uint32_t *x, const uint32_t *w, int words, int columns, int half, float *y) {
  const I start = set_word(uint32_t(-half));
  const int plane = words * PANEL;
  for (int first = 0; first < columns; first += COLUMNS) {
    Count n[COLUMNS][ROWS];
    UNROLL for (int c = 0; c < COLUMNS; ++c) UNROLL for (int r = 0; r < ROWS; ++r) n[c][r] = no_count();
    if (!COUNT_WORDS || PLANES * words <= COUNT_WORDS) {
      UNROLL for (int p = 0; p < PLANES; ++p) count_words(x, w + p * plane + first, 0, words, n);
      UNROLL for (int c = 0; c < COLUMNS; ++c) UNROLL for (int r = 0; r < ROWS; ++r)
        store(y + (first + c) * TILE + r * LANES, to_float(add_words(start, counted(n[c][r]))));
      continue;
    }
    constexpr int step = COUNT_WORDS ? COUNT_WORDS : 1;
    uint32_t total[COLUMNS][TILE];
    for (int c = 0; c < COLUMNS; ++c)
      for (int r = 0; r < ROWS; ++r) store_words(total[c] + r * LANES, start);
    for (int p = 0; p < PLANES; ++p)
      for (int begin = 0; begin < words; begin += step) {
        count_words(x, w + p * plane + first, begin, words - begin < step ? words : begin + step, n);
        UNROLL for (int c = 0; c < COLUMNS; ++c) UNROLL for (int r = 0; r < ROWS; ++r) {
          store_words(total[c] + r * LANES, add_words(load_words(total[c] + r * LANES), counted(n[c][r])));
          n[c][r] = no_count();
        }
      }
    for (int c = 0; c < COLUMNS; ++c)
      for (int r = 0; r < ROWS; ++r) store(y + (first + c) * TILE + r * LANES, to_float(load_words(total[c] + r * LANES)));
  }
}

// Real-valued products keep columns in the lanes, so that no lane is spent on tokens that a tile lacks: a group of tokens
// times some panels, out[token][16 * panels]. `panel`: words from a panel to the next.
template <int TOKENS, int COUNT, bool HALVES>
INLINE void fma_group(const float *x, const void *w, int64_t panel, int inputs, float *out) {
  constexpr int EACH = BHVIT_PANEL / LANES, VECTORS = COUNT * EACH;
  F acc[TOKENS][VECTORS];
  UNROLL for (int t = 0; t < TOKENS; ++t) UNROLL for (int i = 0; i < VECTORS; ++i) acc[t][i] = set(0.0f);
  for (int k = 0; k < inputs; ++k) {
    F b[VECTORS];
    UNROLL for (int i = 0; i < VECTORS; ++i) {
      const int64_t at = i / EACH * panel + int64_t(k) * BHVIT_PANEL + i % EACH * LANES;
      b[i] = HALVES ? half_to_float((const uint16_t *)w + at) : load((const float *)w + at);
    }
    UNROLL for (int t = 0; t < TOKENS; ++t) {
      const F a = set(x[k * TILE + t]);
      UNROLL for (int i = 0; i < VECTORS; ++i) acc[t][i] = fma(a, b[i], acc[t][i]);
    }
  }
  UNROLL for (int t = 0; t < TOKENS; ++t) UNROLL for (int i = 0; i < VECTORS; ++i) store(out + t * COUNT * BHVIT_PANEL + i * LANES, acc[t][i]);
}

// y[column][TILE] = x w for `tokens` tokens and COUNT panels; x [inputs][TILE].
template <int COUNT, bool HALVES>
static void fma_panels(const float *x, const void *w, int64_t panel, int inputs, int tokens, float *y) {
  constexpr int WIDTH = COUNT * BHVIT_PANEL;
  float out[TILE * WIDTH];
  memset(out, 0, sizeof out);
  int t = 0;
  for (; t + GROUP <= tokens; t += GROUP) fma_group<GROUP, COUNT, HALVES>(x + t, w, panel, inputs, out + t * WIDTH);
  for (; t + GROUP / 2 <= tokens; t += GROUP / 2) fma_group<GROUP / 2, COUNT, HALVES>(x + t, w, panel, inputs, out + t * WIDTH);
  for (; t < tokens; ++t) fma_group<1, COUNT, HALVES>(x + t, w, panel, inputs, out + t * WIDTH);
  const float *rows[TILE];
  for (int i = 0; i < TILE; ++i) rows[i] = out + i * WIDTH;
  columns_of(rows, 0, WIDTH, y);
}

// The same of one panel of floats.
INLINE void fma_panel(const float *x, const float *w, int inputs, int tokens, float *y) { fma_panels<1, false>(x, w, 0, inputs, tokens, y); }

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

// `count` pairs of a panel's levels from pair `first` on, widened to int16.
static void widen_levels(const bhvit_product &p, const uint8_t *w, int first, int count, uint32_t *out) {
  const int64_t at = int64_t(first) * PANEL;
  if (p.kind == BHVIT_INT8)
    for (int i = 0; i < count * PANEL; i += LANES) store_words(out + i, widen_int8(w + 2 * (at + i)));
  else
    for (int i = 0; i < count * PANEL; i += LANES) store_words(out + i, widen_int4(w + at + i));
}

// Weight panels that panel_product takes at once, and tokens that it likes best.
INLINE int panels_at_once(const bhvit_product &p) { return p.kind >= BHVIT_FP16 ? PANELS : 1; }
INLINE int tile_of(const bhvit_product &p) { return p.kind >= BHVIT_FP16 ? TILE / GROUP * GROUP : TILE; }

template <int COUNT> static void real_panels(const bhvit_product &p, const float *x, int64_t at, int tokens, float *y) {
  const int inputs = p.taps * p.channels;
  const int64_t panel = int64_t(inputs) * PANEL;
  if (p.kind == BHVIT_FP16) fma_panels<COUNT, true>(x, (const uint16_t *)p.weight + at, panel, inputs, tokens, y);
  else fma_panels<COUNT, false>(x, (const float *)p.weight + at, panel, inputs, tokens, y);
}

// Accumulators y[column][TILE] of some panels from `panel` on: differing bits less half of those there are (signs), else the sum of
// products; of columns beyond `columns` and tokens beyond `tokens` they mean nothing. `chunk`: CHUNK * 16 words.
static void panel_product(const bhvit_product &p, const uint32_t *x, int64_t panel, int columns, int tokens, uint32_t *chunk, float *y) {
  const int depth = depth_of(p);
  const int64_t at = panel * depth * PANEL; // in operand rows
  if (p.kind == BHVIT_BINARY) {
    count_panel(x, (const uint32_t *)p.weight + at, depth, columns, p.taps * p.channels / 2, y);
  } else if (p.kind == BHVIT_TERNARY) {
    count_panel<2>(x, (const uint32_t *)p.weight + 2 * at, depth, columns, p.taps * p.channels, y);
  } else if (p.kind >= BHVIT_FP16) {
    if (columns > PANEL) real_panels<PANELS>(p, (const float *)x, at, tokens, y);
    else real_panels<1>(p, (const float *)x, at, tokens, y);
  } else {
    const uint8_t *levels = (const uint8_t *)p.weight + at * (p.kind == BHVIT_INT8 ? 2 : 1);
    uint32_t total[PANEL * TILE];
    for (int k = 0; k < depth; k += CHUNK) {
      const int n = depth - k < CHUNK ? depth - k : CHUNK;
      widen_levels(p, levels, k, n, chunk);
      pair_panel(x + int64_t(k) * TILE, chunk, n, columns, k % INT32_PAIRS > 0, total);
      if ((k + n) % INT32_PAIRS && k + n < depth) continue;
      for (int i = 0; i < columns * TILE; i += LANES) {
        const F part = to_float(load_words(total + i));
        store(y + i, k < INT32_PAIRS ? part : add(load(y + i), part));
      }
    }
  }
}

INLINE int planes_of(const bhvit_product &p) { return p.kind == BHVIT_TERNARY ? 2 : 1; }

// What to add to the differing bits of a product of signs where a tap is zero padding: its bits are all 0, and it must count as
// half its inputs in every plane, which is a sum of 0.
static float padding_correction(const bhvit_product &p, int column, int tap) {
  const int words = words_of(p.channels), panels = (p.columns + PANEL - 1) / PANEL, group = column / p.columns, c = column % p.columns;
  const int planes = planes_of(p);
  int ones = 0;
  for (int plane = 0; plane < planes; ++plane) {
    const int64_t row = ((int64_t(group) * panels + c / PANEL) * planes + plane) * p.taps + tap;
    const uint32_t *w = (const uint32_t *)p.weight + row * words * PANEL + c % PANEL;
    for (int i = 0; i < words; ++i) ones += __builtin_popcount(w[i * PANEL]);
  }
  return 0.5f * float(planes * p.channels) - float(ones);
}

// The sum of products of signs is odd_input + of_differing * accumulator: inputs - 2 * differing bits, of which half of the inputs
// were subtracted while both are whole numbers; with two planes the mean of two such sums.
INLINE float odd_input(const bhvit_product &p) { return p.kind == BHVIT_BINARY ? float(p.taps * p.channels % 2) : 0.0f; }
INLINE float of_differing(const bhvit_product &p) { return -2.0f / float(planes_of(p)); }

// value = accumulator * factor + offset for every output column. `folded`: a norm that follows, where it is affine.
static void affine_of(const bhvit_product &p, const bhvit_norm *folded, float *factor, float *offset) {
  const int columns = p.groups * p.columns;
  for (int c = 0; c < columns; ++c) {
    factor[c] = p.scale ? p.scale[c] : 1.0f;
    offset[c] = p.bias ? p.bias[c] : 0.0f;
  }
  if (folded && !folded->layer)
    for (int c = 0; c < columns; ++c) {
      factor[c] *= folded->scale[c];
      offset[c] = offset[c] * folded->scale[c] + folded->shift[c];
    }
  if (!takes_signs(p.kind)) return;
  for (int c = 0; c < columns; ++c) {
    offset[c] += factor[c] * odd_input(p);
    factor[c] *= of_differing(p);
  }
}

// A product with its norm as each_normed_column computes it: standardised first with LayerNorm, then times `scale`.
struct Normed {
  float *factor, *offset; // of accumulators
  float *scale, *shift;   // after standardisation; only with LayerNorm

  // What is added after the norm: to `offset`, or with LayerNorm to `shift`.
  METHOD float *last() const { return scale ? shift : offset; }
};

struct Scratch {
  int tokens;                   // of the tile at hand
  uint32_t *operand, *operand2; // of products
  float *residual, *columns, *pooled; // [channels][TILE]
  float *wide;                  // [columns of a product][TILE], only with LayerNorm
  float *rows;                  // [TILE][channels]
  uint32_t *chunk;              // [CHUNK][16]
  float *y;                     // [3][16][TILE]
  float *scores;                // attention: [keys to a multiple of 16][TILE]
  uint32_t *weights;            // attention: panels of keys and values
  uint32_t *planes;             // attention: queries or probabilities as an operand
  const float *zeros;
};

// sink(column, values[ROWS]) with accumulator * factor + offset for every column of a group, in order.
template <class Sink>
INLINE void each_column(const bhvit_product &p, const float *factor, const float *offset, int group, const uint32_t *x, Scratch &s, Sink sink) {
  const int panels = (p.columns + PANEL - 1) / PANEL, step = panels_at_once(p), width = step * PANEL;
  for (int panel = 0; panel < panels; panel += step) {
    const int rest = p.columns - panel * PANEL, columns = rest < width ? rest : width, first = group * p.columns + panel * PANEL;
    panel_product(p, x, int64_t(group) * panels + panel, columns, s.tokens, s.chunk, s.y);
    for (int i = 0; i < columns; ++i) {
      const F a = set(factor[first + i]), b = set(offset[first + i]);
      F y[ROWS];
      UNROLL for (int r = 0; r < ROWS; ++r) y[r] = fma(load(s.y + i * TILE + r * LANES), a, b);
      sink(first + i, y);
    }
  }
}

// sink(column, values[ROWS]) with the normalised product, for a product of one group.
template <class Sink>
INLINE void each_normed_column(const bhvit_product &p, const Normed &norm, const uint32_t *x, Scratch &s, Sink sink) {
  if (!norm.scale) {
    each_column(p, norm.factor, norm.offset, 0, x, s, sink);
    return;
  }
  each_column(p, norm.factor, norm.offset, 0, x, s, [&](int c, const F *y) {
    UNROLL for (int r = 0; r < ROWS; ++r) store(s.wide + c * TILE + r * LANES, y[r]);
  });
  standardise_tile(p.columns, s.wide);
  for (int c = 0; c < p.columns; ++c) {
    F y[ROWS];
    UNROLL for (int r = 0; r < ROWS; ++r) y[r] = fma(load(s.wide + c * TILE + r * LANES), set(norm.scale[c]), set(norm.shift[c]));
    sink(c, y);
  }
}

} // namespace bhvit::ISA
