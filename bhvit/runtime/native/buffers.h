// Working memory of one run, and loops over threads.
#pragma once
#include "pool.h"
#include "product.h"

namespace bhvit::ISA {

constexpr int MAX_THREADS = BHVIT_MAX_THREADS;
constexpr int REACH = 5; // of the widest dilation, the border of the bit planes

// body(i, thread) for i in [0, n)
template <class Turn> INLINE void parallel_for(Pool *pool, int n, Turn turn) {
  if (!pool) {
    for (int i = 0; i < n; ++i) turn(i, 0);
    return;
  }
  pool_run(pool, n, [](void *context, int i, int thread) { (*static_cast<Turn *>(context))(i, thread); }, &turn);
}

INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// Rows of bit planes: LANES words more than the padded map, so that a tile may be read beyond the end of a row.
INLINE int plane_width(int side) { return side + 2 * REACH + LANES; }
INLINE int64_t plane_size(int side) { return int64_t(side + 2 * REACH) * plane_width(side) + LANES; }

struct Buffers {
  float *map, *next;            // [tokens][channels]: the features, and those of the next stage
  float *normed;                // [tokens][channels]
  uint32_t *planes;             // mixer: [group][word][plane], signs
  float *corrections;           // mixer: [3][16][channels]
  float *tokens, *sums;         // attention: [rows][channels], rows = tokens + windows
  float *query, *key, *value;   // attention, real-valued or integer: levels [rows][channels]
  uint32_t *query_bits, *key_bits; // attention, binary: [rows][head][word]
  uint8_t *value_bits;          // attention, binary: [channels][rows / 8]
  float *local, *summary;       // windows: [tokens][channels] in place of `tokens`, [windows][windows][channels]
  uint32_t *panels;             // without windows: keys and values of every head as weight panels
  float *ones;                  // without windows, binary: [channels], how many signs of the values are positive
  float *constants;             // what a layer folds together before it starts
  Scratch scratch[MAX_THREADS];
};

// Hands out pieces of the workspace; without one it only counts.
struct Arena {
  char *base;
  int64_t used;

  template <class T> T *take(int64_t n) {
    T *piece = base ? (T *)(base + used) : nullptr;
    used += round_up(n * int64_t(sizeof(T)), 64);
    return piece;
  }
};

// Channels by head, and how many rows are projected to keys and values.
struct HeadShape {
  int channels, heads, head, rows;

  HeadShape(const bhvit_attention &a, int channels, int rows) : channels(channels), heads(a.heads), head(channels / a.heads), rows(rows) {}
  // Bytes of one channel's signs of all rows; 8 more may be read.
  METHOD int64_t value_row_bytes() const { return round_up(rows, TILE) / 8 + 8; }
};

// Rows of attention within windows: the tokens window by window, then one summary token a window.
struct WindowShape : HeadShape {
  int side, window, across, windows, area, keys;

  WindowShape(const bhvit_attention &a, int side, int channels)
      : HeadShape(a, channels, side * side + side / a.windows->window * (side / a.windows->window)), side(side), window(a.windows->window),
        across(side / window), windows(across * across), area(window * window), keys(area + windows) {}
  // The pixel of local token i of a window.
  METHOD int pixel(int w, int i) const { return (w / across * window + i / window) * side + w % across * window + i % window; }
  // The row of key (or query) i of a window.
  METHOD int row(int w, int i) const { return i < area ? w * area + i : side * side + i - area; }
};

// Attention to the whole map: every token is a query, a key is what becomes of a patch of ratio x ratio tokens.
struct GlobalShape : HeadShape {
  int side, ratio, across, tokens;

  GlobalShape(const bhvit_attention &a, int side, int channels)
      : HeadShape(a, channels, side / a.reduction_ratio * (side / a.reduction_ratio)), side(side), ratio(a.reduction_ratio), across(side / ratio), tokens(side * side) {}
  // The key of a token's patch.
  METHOD int key_of(int token) const { return token / side / ratio * across + token % side / ratio; }
  // Words of the weight panels of one head: those of its keys, and of keys and values.
  METHOD int64_t key_words(int kind) const { return round_up(rows, PANEL) * (kind == BHVIT_BINARY ? words_of(head) : head); }
  METHOD int64_t panel_words(int kind) const {
    return key_words(kind) + round_up(head, PANEL) * (kind == BHVIT_BINARY ? words_of(rows) : rows);
  }
};

struct Needs { // the largest of each over all layers, in elements
  int64_t map, next;            // features: of any stage, of any but the first
  int64_t planes, corrections;  // mixer
  int64_t rows_channels, level_maps, head_words, value_bits, summary, panels; // attention
  int64_t channels;             // of a map
  int64_t depth, depth2;        // of operands: of every product but an MLP's second, and of that
  int64_t columns;              // of a product before a LayerNorm
  int64_t constants;            // of the pieces that a layer takes
  int64_t scores, weights, score_planes; // attention of one head
};

INLINE bool is_wide(const bhvit_norm &norm) { return norm.layer != 0; }

static void need_product(Needs &n, const bhvit_product &p, int operands = 1) {
  n.depth = larger(n.depth, int64_t(operands) * depth_of(p));
  n.channels = larger(n.channels, int64_t(p.groups) * p.channels);
}

// What both kinds of attention need for `rows` that are projected and `keys` that a query sees.
static void need_heads(Needs &n, const bhvit_attention &a, const HeadShape &shape, int64_t rows, int64_t keys, int planes) {
  rows = round_up(rows, TILE);
  n.rows_channels = larger(n.rows_channels, rows * shape.channels);
  n.scores = larger(n.scores, round_up(keys, PANEL) * TILE);
  if (a.kind == BHVIT_BINARY) {
    n.head_words = larger(n.head_words, rows * shape.heads * words_of(shape.head));
    n.value_bits = larger(n.value_bits, shape.channels * shape.value_row_bytes());
    n.score_planes = larger(n.score_planes, larger(words_of(shape.head), int64_t(planes) * words_of(int(keys))) * TILE);
  } else {
    n.level_maps = larger(n.level_maps, rows * shape.channels);
    n.score_planes = larger(n.score_planes, int64_t(shape.head) * TILE);
  }
}

static void need_windows(Needs &n, const bhvit_attention &a, const WindowShape &shape) {
  const int64_t windows = shape.windows, keys = shape.keys, head = shape.head, padded = round_up(keys, PANEL);
  need_heads(n, a, shape, shape.rows, keys, 2);
  n.summary = larger(n.summary, windows * windows * shape.channels);
  if (a.kind == BHVIT_BINARY)
    n.weights = larger(n.weights, larger(padded * words_of(int(head)), round_up(head, PANEL) * words_of(int(keys))));
  else
    n.weights = larger(n.weights, larger(padded * head, round_up(head, PANEL) * keys));
}

static void need_global(Needs &n, const bhvit_attention &a, const GlobalShape &shape) {
  if (a.reduction) need_product(n, a.reduction->product);
  need_heads(n, a, shape, shape.tokens, shape.rows, 1);
  n.panels = larger(n.panels, shape.heads * shape.panel_words(a.kind));
}

static void need_block(Needs &n, const bhvit_block &block, int side, int channels) {
  n.channels = larger(n.channels, channels);
  if (const bhvit_mixer *m = block.mixer) {
    need_product(n, m->convs[0], takes_signs(m->convs[0].kind) ? 3 : 1);
    n.planes = larger(n.planes, plane_size(side) * m->convs[0].groups * words_of(m->convs[0].channels));
    n.corrections = larger(n.corrections, int64_t(3) * 16 * channels);
    n.constants = larger(n.constants, int64_t(8) * (channels + 16));
  }
  if (const bhvit_attention *a = block.attention) {
    need_product(n, a->query.project.product);
    need_product(n, a->output.product);
    if (a->windows) need_windows(n, *a, WindowShape(*a, side, channels));
    else need_global(n, *a, GlobalShape(*a, side, channels));
    if (is_wide(a->norm)) n.columns = larger(n.columns, channels);
    n.constants = larger(n.constants, int64_t(28) * (channels + 16));
  }
  const bhvit_mlp &m = *block.mlp;
  need_product(n, m.expand.product);
  n.depth2 = larger(n.depth2, depth_of(m.project.product));
  n.constants = larger(n.constants, int64_t(5) * (m.intermediate + 16) + int64_t(6 + 9) * (channels + 16));
  if (is_wide(m.expand.norm)) n.columns = larger(n.columns, larger(m.intermediate, channels));
}

static Needs needs_of(const bhvit_model &model) {
  Needs n = {};
  for (int i = 0; i < model.stage_count; ++i) {
    const bhvit_stage &stage = model.stages[i];
    const int64_t map = int64_t(stage.side) * stage.side * stage.channels;
    n.map = larger(n.map, map);
    if (const bhvit_downsample *d = stage.downsample) {
      need_product(n, d->product);
      n.channels = larger(n.channels, stage.channels);
      n.next = larger(n.next, map);
      n.constants = larger(n.constants, int64_t(4) * (stage.channels + 16));
      if (is_wide(d->norm)) n.columns = larger(n.columns, stage.channels);
    }
    for (int j = 0; j < stage.depth; ++j) need_block(n, stage.blocks[j], stage.side, stage.channels);
  }
  need_product(n, model.stem->product);
  need_product(n, model.head->product);
  n.constants = larger(n.constants, int64_t(4) * (larger(model.stem->channels, model.head->product.columns) + 16));
  if (is_wide(model.stem->norm)) n.columns = larger(n.columns, model.stem->channels);
  return n;
}

// Lays the buffers out in `base`, or counts their bytes where it is null.
static int64_t lay_out(const bhvit_model &model, int threads, void *base, Buffers &b) {
  const Needs n = needs_of(model);
  Arena arena = {(char *)base, 0};
  b.map = arena.take<float>(n.map);
  b.next = arena.take<float>(n.next);
  b.normed = arena.take<float>(n.map);
  b.planes = arena.take<uint32_t>(n.planes);
  b.corrections = arena.take<float>(n.corrections);
  b.tokens = arena.take<float>(n.rows_channels);
  b.sums = arena.take<float>(n.rows_channels);
  b.query = arena.take<float>(n.level_maps);
  b.key = arena.take<float>(n.level_maps);
  b.value = arena.take<float>(n.level_maps);
  b.query_bits = arena.take<uint32_t>(n.head_words);
  b.key_bits = arena.take<uint32_t>(n.head_words);
  b.value_bits = arena.take<uint8_t>(n.value_bits);
  b.local = b.tokens; // which are projected before the first context is known
  b.summary = arena.take<float>(n.summary);
  b.panels = arena.take<uint32_t>(n.panels);
  b.ones = arena.take<float>(n.panels ? n.channels : 0);
  b.constants = arena.take<float>(n.constants);
  float *zeros = arena.take<float>(n.channels);
  if (zeros) memset(zeros, 0, size_t(n.channels) * sizeof(float));
  for (int t = 0; t < threads; ++t) {
    Scratch &s = b.scratch[t];
    s.operand = arena.take<uint32_t>(n.depth * TILE);
    s.operand2 = arena.take<uint32_t>(n.depth2 * TILE);
    s.residual = arena.take<float>(n.channels * TILE);
    s.columns = arena.take<float>(n.channels * TILE);
    s.pooled = arena.take<float>(n.channels * TILE);
    s.wide = arena.take<float>(n.columns * TILE);
    s.rows = arena.take<float>(n.channels * TILE);
    s.chunk = arena.take<uint32_t>(CHUNK * PANEL);
    s.y = arena.take<float>(3 * PANEL * TILE);
    s.scores = arena.take<float>(n.scores);
    s.weights = arena.take<uint32_t>(n.weights);
    s.planes = arena.take<uint32_t>(n.score_planes);
    s.zeros = zeros;
  }
  return arena.used;
}

// Pieces of the buffer for what a layer folds together before it starts, one value a channel each.
struct Constants {
  float *next;

  METHOD float *take(int n) {
    float *piece = next;
    next += (n + 15) / 16 * 16;
    return piece;
  }
  // The factors of a LayerScale, ones where there is none.
  const float *alpha(const bhvit_scale &scale, int n) {
    if (scale.alpha) return scale.alpha;
    float *ones = take(n);
    for (int i = 0; i < n; ++i) ones[i] = 1.0f;
    return ones;
  }
  Normed normed(const bhvit_product &p, const bhvit_norm &norm) {
    const int columns = p.groups * p.columns;
    Normed result = {take(columns), take(columns), nullptr, nullptr};
    affine_of(p, &norm, result.factor, result.offset);
    if (norm.layer) {
      result.scale = take(columns);
      result.shift = take(columns);
      memcpy(result.scale, norm.scale, size_t(columns) * sizeof(float));
      memcpy(result.shift, norm.shift, size_t(columns) * sizeof(float));
    }
    return result;
  }
};

// What a layer runs with.
struct Run {
  Buffers &buffers;
  Pool *pool; // NULL: this thread alone

  // body(first token, tokens, scratch) for tiles of up to `size` consecutive tokens
  template <class Body> METHOD void tiles(int tokens, int size, Body body) {
    parallel_for(pool, (tokens + size - 1) / size, [&](int i, int thread) {
      const int first = i * size, rest = tokens - first;
      Scratch &s = buffers.scratch[thread];
      s.tokens = rest < size ? rest : size;
      body(first, s.tokens, s);
    });
  }
  // y = norm(x), maps of `tokens` tokens
  void norm_map(const bhvit_norm &norm, int tokens, int channels, const float *x, float *y) {
    parallel_for(pool, (tokens + TILE - 1) / TILE, [&](int i, int) {
      const int first = i * TILE, count = tokens - first < TILE ? tokens - first : TILE;
      norm_rows(norm, channels, count, x + int64_t(first) * channels, y + int64_t(first) * channels);
    });
  }
};

// Pointers to the rows of a tile of consecutive tokens; tokens beyond the end point to the last one.
INLINE void tile_rows(const float *map, int channels, int first, int count, const float **rows) {
  for (int t = 0; t < TILE; ++t) rows[t] = map + int64_t(first + (t < count ? t : count - 1)) * channels;
}

} // namespace bhvit::ISA
