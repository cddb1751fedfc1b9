// Image to tokens, stage to stage, tokens to logits.
#pragma once
#include "buffers.h"

namespace bhvit::ISA {

constexpr int PATCH = 4, COLOURS = 3;

// The colour values of a pixel as the network was trained on them.
struct Image {
  const void *data;
  bool is_float; // [3][S][S], else uint8 [S][S][3]
  int size;
  const float *scale, *shift;

  METHOD float at(int colour, int y, int x) const {
    if (is_float) return ((const float *)data)[(int64_t(colour) * size + y) * size + x];
    return float(((const uint8_t *)data)[(int64_t(y) * size + x) * COLOURS + colour]) * scale[colour] + shift[colour];
  }
};

static void run_stem(Run &run, const bhvit_stem &stem, const void *data, bool is_float) {
  const int side = stem.image_size / PATCH, channels = stem.channels;
  const Image image = {data, is_float, stem.image_size, stem.image_scale, stem.image_shift};
  run.tiles(side * side, [&](int first, int count, Scratch &s) {
    float *operand = (float *)s.operand;
    for (int t = 0; t < TILE; ++t) {
      const int token = first + (t < count ? t : count - 1), y = token / side * PATCH, x = token % side * PATCH;
      for (int k = 0; k < COLOURS * PATCH * PATCH; ++k)
        operand[k * TILE + t] = image.at(k / (PATCH * PATCH), y + k / PATCH % PATCH, x + k % PATCH);
    }
    each_normed_column(stem.product, stem.norm, s.operand, s, [&](int c, const F *y) {
      for (int r = 0; r < ROWS; ++r) store(s.columns + c * TILE + r * LANES, gelu(y[r]));
    });
    rows_of(s.columns, channels, s.rows);
    for (int t = 0; t < count; ++t) {
      const int64_t at = int64_t(first + t) * channels;
      memcpy(run.buffers.map + at, stem.position + at, size_t(channels) * sizeof(float));
      add_row(channels, s.rows + t * channels, run.buffers.map + at);
    }
  });
}

// From the map (side, channels in) to one of half the side, which then is the map.
static void run_downsample(Run &run, const bhvit_downsample &d, int side_in, int channels_in, int channels) {
  Buffers &b = run.buffers;
  const int side = side_in / 2;
  run.norm_map(d.norm_in, side_in * side_in, channels_in, b.map, b.normed);
  run.tiles(side * side, [&](int first, int count, Scratch &s) {
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
    each_normed_column(d.product, d.norm, s.operand, s, [&](int c, const F *y) {
      for (int r = 0; r < ROWS; ++r) {
        F z = y[r];
        if (d.residual) z = rprelu(d.rprelu, c, fma(load(s.pooled + residual * TILE + r * LANES), set(0.25f), z));
        store(s.columns + c * TILE + r * LANES, z);
      }
      residual = residual + 1 == channels_in ? 0 : residual + 1;
    });
    rows_of(s.columns, channels, s.rows);
    for (int t = 0; t < count; ++t) {
      const int64_t at = int64_t(first + t) * channels;
      memcpy(b.next + at, d.position + at, size_t(channels) * sizeof(float));
      add_row(channels, s.rows + t * channels, b.next + at);
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
  each_column(head.product, nullptr, 0, s.operand, s, [&](int c, const F *y) {
    float lanes[LANES];
    store(lanes, y[0]);
    logits[c] = lanes[0];
  });
}

} // namespace bhvit::ISA
