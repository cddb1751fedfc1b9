// Image to tokens, stage to stage, tokens to logits.
#pragma once
#include "buffers.h"

namespace bhvit::ISA {

constexpr int PATCH = 4, COLOURS = 3;

// The patches of a tile of tokens as an operand: out[input][TILE], input (colour * 4 + row) * 4 + column.
template <class Value>
INLINE void patches(const bhvit_stem &stem, int first, int count, float *out, int pixel_stride, int64_t colour_stride, Value value) {
  const int side = stem.image_size / PATCH;
  int64_t corner[TILE];
  for (int t = 0; t < TILE; ++t) {
    const int token = first + (t < count ? t : count - 1);
    corner[t] = (int64_t(token / side) * PATCH * stem.image_size + token % side * PATCH) * pixel_stride;
  }
  for (int k = 0; k < COLOURS * PATCH * PATCH; k += PATCH) { // a row of a patch in one colour
    const int colour = k / (PATCH * PATCH), row = k / PATCH % PATCH;
    const int64_t at = colour * colour_stride + int64_t(row) * stem.image_size * pixel_stride;
    for (int t = 0; t < TILE; ++t)
      UNROLL for (int column = 0; column < PATCH; ++column)
        out[(k + column) * TILE + t] = value(at + corner[t] + column * pixel_stride, colour);
  }
}

static void run_stem(Run &run, const bhvit_stem &stem, const void *data, bool is_float) {
  const int side = stem.image_size / PATCH, channels = stem.channels;
  const Normed norm = Constants{run.buffers.constants}.normed(stem.product, stem.norm);
  run.tiles(side * side, tile_of(stem.product), [&](int first, int count, Scratch &s) {
    const float *floats = (const float *)data;
    const uint8_t *bytes = (const uint8_t *)data;
    if (is_float) patches(stem, first, count, (float *)s.operand, 1, int64_t(stem.image_size) * stem.image_size, [&](int64_t at, int) { return floats[at]; });
    else patches(stem, first, count, (float *)s.operand, COLOURS, 1, [&](int64_t at, int c) { return float(bytes[at]) * stem.image_scale[c] + stem.image_shift[c]; });
    each_normed_column(stem.product, norm, s.operand, s, [&](int c, const F *y) {
      for (int r = 0; r < ROWS; ++r) store(s.columns + c * TILE + r * LANES, stem.gelu ? gelu(y[r]) : y[r]);
    });
    rows_of(s.columns, channels, s.rows);
    for (int t = 0; t < count; ++t) {
      const int64_t at = int64_t(first + t) * channels;
      add_rows(channels, s.rows + t * channels, stem.position + at, run.buffers.map + at);
    }
  });
}

// From the map (side, channels in) to one of half the side, which then is the map.
static void run_downsample(Run &run, const bhvit_downsample &d, int side_in, int channels_in, int channels) {
  Buffers &b = run.buffers;
  const int side = side_in / 2;
  const Normed norm = Constants{b.constants}.normed(d.product, d.norm);
  if (d.residual)
    for (int c = 0; c < channels; ++c) norm.last()[c] -= d.rprelu.shift_in[c];
  run.norm_map(d.norm_in, side_in * side_in, channels_in, b.map, b.normed);
  run.tiles(side * side, tile_of(d.product), [&](int first, int count, Scratch &s) {
    const float *rows[4 * TILE];
    for (int t = 0; t < TILE; ++t) {
      const int token = first + (t < count ? t : count - 1);
      for (int tap = 0; tap < 4; ++tap) {
        const int y = token / side * 2 + tap / 2, x = token % side * 2 + tap % 2;
        rows[tap * TILE + t] = b.normed + (int64_t(y) * side_in + x) * channels_in;
      }
    }
    operand_of_rows(d.product, 0, rows, s.columns, s.zeros, s.operand);
    if (d.residual) { // the average of the four
      columns_of(rows, 0, channels_in, s.pooled);
      for (int tap = 1; tap < 4; ++tap) {
        columns_of(rows + tap * TILE, 0, channels_in, s.residual);
        add_row(channels_in * TILE, s.residual, s.pooled);
      }
    }
    int residual = 0;
    each_normed_column(d.product, norm, s.operand, s, [&](int c, const F *y) {
      for (int r = 0; r < ROWS; ++r) {
        F z = y[r];
        if (d.residual) {
          z = prelu(fma(load(s.pooled + residual * TILE + r * LANES), set(0.25f), z), set(d.rprelu.slope[c]));
          z = add(z, set(d.rprelu.shift_out[c]));
        }
        store(s.columns + c * TILE + r * LANES, z);
      }
      residual = residual + 1 == channels_in ? 0 : residual + 1;
    });
    rows_of(s.columns, channels, s.rows);
    for (int t = 0; t < count; ++t) {
      const int64_t at = int64_t(first + t) * channels;
      add_rows(channels, s.rows + t * channels, d.position + at, b.next + at);
    }
  });
  float *map = b.map;
  b.map = b.next;
  b.next = map;
}

static void run_head(Run &run, const bhvit_head &head, int side, int channels, float *logits) {
  Buffers &b = run.buffers;
  Scratch &s = b.scratch[0];
  const int tokens = side * side;
  run.norm_map(head.norm, tokens, channels, b.map, b.normed);
  memcpy(s.rows, b.normed, size_t(channels) * sizeof(float));
  for (int t = 1; t < tokens; ++t) add_row(channels, b.normed + int64_t(t) * channels, s.rows);
  for (int c = 0; c < channels; ++c) s.rows[c] /= float(tokens);
  const float *rows[TILE];
  tile_rows(s.rows, channels, 0, 1, rows);
  operand_of_rows(head.product, 0, rows, s.columns, s.zeros, s.operand);
  Constants constants = {b.constants};
  float *factor = constants.take(head.product.columns), *offset = constants.take(head.product.columns);
  affine_of(head.product, nullptr, factor, offset);
  s.tokens = 1;
  each_column(head.product, factor, offset, 0, s.operand, s, [&](int c, const F *y) {
    float lanes[LANES];
    store(lanes, y[0]);
    logits[c] = lanes[0];
  });
}

} // namespace bhvit::ISA
