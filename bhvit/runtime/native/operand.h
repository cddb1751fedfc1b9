// Tiles of quantized activations, as the products take them: TILE tokens side by side, inputs one below the other.
//   signs        uint32 [tap][ceil(channels / 32)][TILE], a bit an input
//   levels       uint32 [ceil(taps * channels / 2)][TILE], two int16
//   real values  float  [taps * channels][TILE]
#pragma once
#include "elementwise.h"

namespace bhvit::ISA {

INLINE int words_of(int channels) { return (channels + 31) / 32; }

INLINE bool takes_signs(int kind) { return kind <= BHVIT_TERNARY; }

// 32-bit rows of the operand of one group.
static int depth_of(const bhvit_product &p) {
  if (takes_signs(p.kind)) return p.taps * words_of(p.channels);
  return p.kind <= BHVIT_INT8 ? (p.taps * p.channels + 1) / 2 : p.taps * p.channels;
}

// out[c][TILE] = rows[token][first + c]
static void columns_of(const float *const *rows, int first, int n, float *out) {
  int c = 0;
  for (; c + LANES <= n; c += LANES)
    for (int r = 0; r < ROWS; ++r) transpose_block(rows + r * LANES, first + c, out + c * TILE + r * LANES, TILE);
  for (; c < n; ++c)
    for (int t = 0; t < TILE; ++t) out[c * TILE + t] = rows[t][first + c];
}

// out[token][n] = columns[c][TILE]
static void rows_of(const float *columns, int n, float *out) {
  int c = 0;
  for (; c + LANES <= n; c += LANES)
    for (int r = 0; r < ROWS; ++r) {
      const float *in[LANES];
      for (int i = 0; i < LANES; ++i) in[i] = columns + (c + i) * TILE + r * LANES;
      transpose_block(in, 0, out + r * LANES * n + c, n);
    }
  for (; c < n; ++c)
    for (int t = 0; t < TILE; ++t) out[t * n + c] = columns[c * TILE + t];
}

// words[w * stride]: the signs of x + shift; bits beyond n are 0.
static void pack_row(const float *x, const float *shift, int n, uint32_t *words, int64_t stride) {
  int c = 0;
  for (; c + 32 <= n; c += 32, words += stride) {
    uint32_t word = 0;
    for (int i = 0; i < 32; i += LANES) word |= at_least(shift ? add(load(x + c + i), load(shift + c + i)) : load(x + c + i), set(0.0f)) << i;
    *words = word;
  }
  if (c < n) {
    uint32_t word = 0;
    int i = 0;
    for (; c + i + LANES <= n; i += LANES) word |= at_least(shift ? add(load(x + c + i), load(shift + c + i)) : load(x + c + i), set(0.0f)) << i;
    for (; c + i < n; ++i) word |= uint32_t(x[c + i] + (shift ? shift[c + i] : 0.0f) >= 0) << i;
    *words = word;
  }
}

// Bits of integer levels.
INLINE int bits_of(int kind) { return kind == BHVIT_INT2 ? 2 : kind == BHVIT_INT4 ? 4 : 8; }

INLINE F level_of(int kind, F x, float step) {
  const float top = float((1 << (bits_of(kind) - 1)) - 1);
  return round(max(min(div(x, set(step)), set(top)), set(-top - 1.0f)));
}

INLINE void put_level(uint32_t *operand, int k, int r, F level) {
  uint32_t *at = operand + (k / 2) * TILE + r * LANES;
  store_words(at, k % 2 ? pair(load_words(at), to_int(level)) : pair(to_int(level), zero_words()));
}

// Takes the inputs of a linear layer column by column, in order. The layer's shift, and whatever else is still to be added to
// a column, comes as the threshold to subtract: its sign is x >= threshold.
struct OperandWriter {
  const bhvit_product &p;
  const float *threshold;
  uint32_t *out;
  Bits bits[ROWS][32];

  METHOD void put(int c, const F *x) {
    const F limit = set(threshold[c]);
    if (takes_signs(p.kind)) {
      for (int r = 0; r < ROWS; ++r) bits[r][c % 32] = Bits(at_least(x[r], limit));
      if (c % 32 == 31) transpose_bits(bits, out + (c / 32) * TILE);
    } else if (p.kind <= BHVIT_INT8) {
      for (int r = 0; r < ROWS; ++r) put_level(out, c, r, level_of(p.kind, sub(x[r], limit), p.step));
    } else {
      for (int r = 0; r < ROWS; ++r) store((float *)out + c * TILE + r * LANES, sub(x[r], limit));
    }
  }
  void finish() {
    const int rest = p.channels % 32;
    if (!takes_signs(p.kind) || !rest) return;
    for (int r = 0; r < ROWS; ++r) memset(bits[r] + rest, 0, size_t(32 - rest) * sizeof(Bits));
    transpose_bits(bits, out + (p.channels / 32) * TILE);
  }
};

// The operand of one group from rows of channels: rows[tap * TILE + token], NULL for zero padding. `columns` holds
// channels * TILE floats, `zeros` as many zeros as a row has channels.
static void operand_of_rows(const bhvit_product &p, int group, const float *const *rows, float *columns, const float *zeros,
                            uint32_t *out) {
  const int first = group * p.channels;
  const float *shift = p.shift ? p.shift + first : nullptr;
  if (takes_signs(p.kind)) {
    const int words = words_of(p.channels);
    for (int tap = 0; tap < p.taps; ++tap)
      for (int t = 0; t < TILE; ++t) {
        const float *row = rows[tap * TILE + t];
        uint32_t *at = out + tap * words * TILE + t;
        if (row) pack_row(row + first, shift, p.channels, at, TILE);
        else for (int w = 0; w < words; ++w) at[w * TILE] = 0;
      }
    return;
  }
  for (int tap = 0; tap < p.taps; ++tap) {
    const float *present[TILE];
    float here[TILE];
    for (int t = 0; t < TILE; ++t) {
      const float *row = rows[tap * TILE + t];
      present[t] = row ? row : zeros;
      here[t] = row ? 1.0f : 0.0f;
    }
    columns_of(present, first, p.channels, columns);
    for (int c = 0; c < p.channels; ++c)
      for (int r = 0; r < ROWS; ++r) {
        const F x = add(load(columns + c * TILE + r * LANES), set(shift ? shift[c] : 0.0f)), inside = load(here + r * LANES);
        const int k = tap * p.channels + c;
        if (p.kind <= BHVIT_INT8) put_level(out, k, r, mul(level_of(p.kind, x, p.step), inside));
        else store((float *)out + k * TILE + r * LANES, mul(x, inside));
      }
  }
}

} // namespace bhvit::ISA
