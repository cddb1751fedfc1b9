// The token mixer: three grouped, dilated 3 x 3 convolutions of the same signs (MSGDC).
#pragma once
#include "buffers.h"

namespace bhvit::ISA {

constexpr int TAPS = 9;
constexpr int DILATIONS[3] = {1, 3, 5};

// Signs of norm(h) + shift, a padded plane for every word of every group; the border is 0.
static void mixer_planes(Run &run, const bhvit_mixer &m, int side, int channels) {
  const bhvit_product &conv = m.convs[0];
  const int words = words_of(conv.channels), width = plane_width(side);
  const int64_t plane = plane_size(side);
  memset(run.buffers.planes, 0, size_t(plane * conv.groups * words) * sizeof(uint32_t));
  parallel_for(run.threads, side, [&](int y, int thread) {
    float *u = run.buffers.scratch[thread].rows;
    for (int x = 0; x < side; ++x) {
      norm_row(m.norm_before, channels, run.buffers.map + (int64_t(y) * side + x) * channels, u);
      uint32_t *at = run.buffers.planes + int64_t(y + REACH) * width + x + REACH;
      for (int g = 0; g < conv.groups; ++g)
        pack_row(u + g * conv.channels, conv.shift ? conv.shift + g * conv.channels : nullptr, conv.channels, at + g * words * plane, plane);
    }
  });
}

// What a tap in the zero padding adds to the differing bits beyond half its inputs, which would count as 0:
// corrections [conv][tap][channels] to add where the tap is padding.
static void mixer_corrections(const bhvit_mixer &m, int channels, float *corrections) {
  for (int d = 0; d < 3; ++d) {
    const bhvit_product &p = m.convs[d];
    const int words = words_of(p.channels), panels = (p.columns + PANEL - 1) / PANEL;
    for (int column = 0; column < channels; ++column) {
      const int group = column / p.columns, c = column % p.columns;
      const uint32_t *w = (const uint32_t *)p.weight + (int64_t(group) * panels + c / PANEL) * TAPS * words * PANEL + c % PANEL;
      for (int tap = 0; tap < TAPS; ++tap) {
        int ones = 0;
        for (int i = 0; i < words; ++i) ones += __builtin_popcount(w[(tap * words + i) * PANEL]);
        corrections[(d * TAPS + tap) * channels + column] = 0.5f * float(p.channels) - float(ones);
      }
    }
  }
}

struct Segment { int y, x, skip, count; }; // LANES tokens of a row from x on, of which [skip, count) are wanted

INLINE Segment segment_of(int side, int index) {
  const int a_row = (side + LANES - 1) / LANES, y = index / a_row, x = index % a_row * LANES;
  if (side < LANES) return {y, 0, 0, side};
  const int last = side - LANES;
  return x <= last ? Segment{y, x, 0, LANES} : Segment{y, last, x - last, LANES};
}

// outside[tap][TILE]: 1 where a tap is zero padding. Returns whether any is.
static bool padding_of(const Segment *segments, int side, int dilation, float (*outside)[TILE], bool *any) {
  bool some = false;
  for (int tap = 0; tap < TAPS; ++tap) {
    const int dy = (tap / 3 - 1) * dilation, dx = (tap % 3 - 1) * dilation;
    any[tap] = false;
    for (int r = 0; r < ROWS; ++r) {
      const Segment &s = segments[r];
      const bool row = s.y + dy < 0 || s.y + dy >= side;
      if (!row && s.x + dx >= 0 && s.x + LANES - 1 + dx < side) {
        memset(outside[tap] + r * LANES, 0, LANES * sizeof(float));
        continue;
      }
      any[tap] = some = true;
      for (int t = 0; t < LANES; ++t) outside[tap][r * LANES + t] = row || s.x + t + dx < 0 || s.x + t + dx >= side;
    }
  }
  return some;
}

// Adds `sums` [channels][TILE], normalised, to the tokens of a tile.
template <class Token>
INLINE void add_normed(const bhvit_norm &norm, int channels, float *sums, Scratch &s, Token token) {
  if (norm.layer) layer_norm_tile(norm, channels, sums);
  else
    for (int c = 0; c < channels; ++c)
      for (int r = 0; r < ROWS; ++r) {
        float *at = sums + c * TILE + r * LANES;
        store(at, fma(load(at), set(norm.scale[c]), set(norm.shift[c])));
      }
  rows_of(sums, channels, s.rows);
  for (int t = 0; t < TILE; ++t)
    if (float *row = token(t)) add_row(channels, s.rows + t * channels, row);
}

INLINE void add_branch(const bhvit_rprelu &activation, int column, bool more, const F *y, float *sums) {
  UNROLL for (int r = 0; r < ROWS; ++r) {
    float *at = sums + column * TILE + r * LANES;
    const F z = rprelu(activation, column, y[r]);
    store(at, more ? add(load(at), z) : z);
  }
}

static void binary_mixer_tile(Run &run, const bhvit_mixer &m, int side, int channels, int tile, Scratch &s) {
  const int width = plane_width(side), segments_in_all = side * ((side + LANES - 1) / LANES);
  const int64_t plane = plane_size(side);
  Segment segments[ROWS];
  for (int r = 0; r < ROWS; ++r) {
    const int index = tile * ROWS + r;
    segments[r] = segment_of(side, index < segments_in_all ? index : segments_in_all - 1);
    if (index >= segments_in_all) segments[r].skip = segments[r].count;
  }
  for (int d = 0; d < 3; ++d) {
    const bhvit_product &p = m.convs[d];
    const int words = words_of(p.channels), panels = (p.columns + PANEL - 1) / PANEL;
    float outside[TAPS][TILE];
    bool any[TAPS];
    const bool border = padding_of(segments, side, DILATIONS[d], outside, any);
    for (int g = 0; g < p.groups; ++g) {
      for (int tap = 0; tap < TAPS; ++tap)
        for (int w = 0; w < words; ++w)
          for (int r = 0; r < ROWS; ++r) {
            const int64_t y = segments[r].y + REACH + (tap / 3 - 1) * DILATIONS[d], x = segments[r].x + REACH + (tap % 3 - 1) * DILATIONS[d];
            store_words(s.operand + (tap * words + w) * TILE + r * LANES, load_words(run.buffers.planes + (g * words + w) * plane + y * width + x));
          }
      for (int panel = 0; panel < panels; ++panel) {
        const int columns = p.columns - panel * PANEL < PANEL ? p.columns - panel * PANEL : PANEL;
        panel_product(p, s.operand, int64_t(g) * panels + panel, columns, s.chunk, s.y);
        for (int i = 0; i < columns; ++i) {
          const int column = g * p.columns + panel * PANEL + i;
          const Affine affine = affine_of(p, nullptr, column);
          F n[ROWS];
          UNROLL for (int r = 0; r < ROWS; ++r) n[r] = load(s.y + i * TILE + r * LANES);
          if (border)
            for (int tap = 0; tap < TAPS; ++tap)
              if (any[tap]) {
                const F correction = set(run.buffers.corrections[(d * TAPS + tap) * channels + column]);
                UNROLL for (int r = 0; r < ROWS; ++r) n[r] = fma(correction, load(outside[tap] + r * LANES), n[r]);
              }
          UNROLL for (int r = 0; r < ROWS; ++r) n[r] = fma(n[r], set(affine.factor), set(affine.offset));
          add_branch(m.rprelus[d], column, d > 0, n, s.columns);
        }
      }
    }
  }
  add_normed(m.norm, channels, s.columns, s, [&](int t) -> float * {
    const Segment &segment = segments[t / LANES];
    const int lane = t % LANES;
    if (lane < segment.skip || lane >= segment.count) return nullptr;
    return run.buffers.map + (int64_t(segment.y) * side + segment.x + lane) * channels;
  });
}

static void mixer_tile(Run &run, const bhvit_mixer &m, int side, int channels, int first, int count, Scratch &s) {
  for (int d = 0; d < 3; ++d) {
    const bhvit_product &p = m.convs[d];
    const float *rows[TAPS * TILE];
    for (int tap = 0; tap < TAPS; ++tap)
      for (int t = 0; t < TILE; ++t) {
        const int token = first + (t < count ? t : 0);
        const int y = token / side + (tap / 3 - 1) * DILATIONS[d], x = token % side + (tap % 3 - 1) * DILATIONS[d];
        const bool inside = y >= 0 && y < side && x >= 0 && x < side;
        rows[tap * TILE + t] = inside ? run.buffers.normed + (int64_t(y) * side + x) * channels : nullptr;
      }
    for (int g = 0; g < p.groups; ++g) {
      operand_of_rows(p, g, rows, s.residual, s.zeros, s.operand);
      each_column(p, nullptr, g, s.operand, s, [&](int column, const F *y) { add_branch(m.rprelus[d], column, d > 0, y, s.columns); });
    }
  }
  add_normed(m.norm, channels, s.columns, s, [&](int t) { return t < count ? run.buffers.map + int64_t(first + t) * channels : nullptr; });
}

// map += mixer(norm_before(map))
static void run_mixer(Run &run, const bhvit_mixer &m, int side, int channels) {
  if (m.convs[0].kind == BHVIT_BINARY) {
    mixer_planes(run, m, side, channels);
    mixer_corrections(m, channels, run.buffers.corrections);
    const int segments = side * ((side + LANES - 1) / LANES);
    parallel_for(run.threads, (segments + ROWS - 1) / ROWS, [&](int tile, int thread) {
      binary_mixer_tile(run, m, side, channels, tile, run.buffers.scratch[thread]);
    });
    return;
  }
  run.norm_map(m.norm_before, side * side, channels, run.buffers.map, run.buffers.normed);
  run.tiles(side * side, [&](int first, int count, Scratch &s) { mixer_tile(run, m, side, channels, first, count, s); });
}

} // namespace bhvit::ISA
