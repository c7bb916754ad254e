// Canvases cut into tiles, each of which is worked on alone: by one thread, and where the canvas is
// too large for the caches, in memory of its own that is not.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "block.h"

namespace softraster {
namespace cpu {

// Bands of rows, each cut into parts of columns; all of a size but for one pixel.
struct TileGrid {
  int64_t rows, columns;  // of the canvas
  int64_t bands, parts;

  int64_t tiles() const { return bands * parts; }
  Range band(int64_t i) const { return cut(i, rows, bands); }
  Range part(int64_t i) const { return cut(i, columns, parts); }
  Range bands_of(Range pixels) const { return cuts_of(pixels, rows, bands); }
  Range parts_of(Range pixels) const { return cuts_of(pixels, columns, parts); }

 private:
  static Range cut(int64_t i, int64_t size, int64_t cuts) {
    return {i * size / cuts, (i + 1) * size / cuts};
  }
  static Range cuts_of(Range pixels, int64_t size, int64_t cuts) {
    if (pixels.empty()) return {0, 0};
    const auto cut_of = [&](int64_t pixel) { return ((pixel + 1) * cuts - 1) / size; };
    return {cut_of(pixels.begin), cut_of(pixels.end - 1) + 1};
  }
};

// The columns of a segment's chunks.
template <class T>
Range chunk_columns(const Segment<T>& s, int64_t width) {
  return overlap(chunk_range(column_support(s, {0, width}), width), {0, width});
}

// Of these, the ones in some rows of its support; a chunk may begin before the support, or end
// after it.
template <class T>
Range columns_in_rows(const Segment<T>& s, Range rows, Range columns) {
  const RowWindow window = row_window(s);
  const double top = s.mid_x + window.step * (rows.begin + 0.5 - s.mid_y);
  const double bottom = s.mid_x + window.step * (rows.end - 0.5 - s.mid_y);
  const double arm = window.arm + (kLanes - 1);
  return clip(std::min(top, bottom) - arm, std::max(top, bottom) + arm, columns);
}

// Calls visit(tile) for the tiles that a segment reaches, band by band.
template <class T, class Visit>
void for_tiles(const TileGrid& grid, const Segment<T>& s, const Visit& visit) {
  const Range rows = row_support(s, {0, grid.rows}), columns = chunk_columns(s, grid.columns);
  const Range bands = grid.bands_of(rows), all_parts = grid.parts_of(columns);
  for (int64_t band = bands.begin; band < bands.end; ++band) {
    Range parts = all_parts;
    if (parts.end - parts.begin > 1) {
      parts = grid.parts_of(columns_in_rows(s, overlap(rows, grid.band(band)), columns));
    }
    for (int64_t part = parts.begin; part < parts.end; ++part) visit(band * grid.parts + part);
  }
}

// A part of a canvas, and where its pixels lie: its first one at 0.
struct Tile {
  Range rows;
  Layout layout;

  int64_t size() const { return (rows.end - rows.begin) * layout.width; }
};

// Whether tiles have memory of their own: where a canvas is too large for the caches, and has so
// many segments that to copy it costs less than it saves.
template <class T>
bool tiles_apart(const DrawSegmentsParams<T>& p) {
  constexpr int64_t kPixelsEach = 256;
  return canvas_bytes(p) > 8 * kCacheBytes && p.pixels() <= kPixelsEach * p.count;
}

// columns: all of the canvas's, unless tiles are apart. Then rows have room for chunks that are
// only in part the tile's, so that chunks are the same however a canvas is cut.
template <class T>
Tile tile_of(const DrawSegmentsParams<T>& p, Range rows, Range columns) {
  if (!tiles_apart(p)) return {rows, {columns, p.columns, p.columns, rows.begin * p.columns}};
  const int64_t begin = columns.begin - kLanes, end = columns.end + kLanes, width = end - begin;
  return {rows, {columns, end, width, rows.begin * width + begin}};
}

// Past the caches: what is written is not read soon, and memory is not read for it.
template <class Number>
void copy_past_caches(const Number* from, int64_t size, Number* to) {
#if defined(__SSE2__)
  constexpr int64_t kLineBytes = 64, kLine = kLineBytes / sizeof(Number);
  int64_t at = 0;
  while (at < size && reinterpret_cast<uintptr_t>(to + at) % kLineBytes) to[at] = from[at], ++at;
  for (; at + kLine <= size; at += kLine) {
    const __m128i* const line = reinterpret_cast<const __m128i*>(from + at);
    for (int i = 0; i < 4; ++i) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + at) + i, _mm_loadu_si128(line + i));
    }
  }
  for (; at < size; ++at) to[at] = from[at];
#else
  std::copy_n(from, size, to);
#endif
}

// A plane of a tile to where it belongs on a plane of a canvas of that width.
template <class Number>
void copy_back(const Tile& tile, const Number* from, int64_t width, Number* canvas) {
  const Range columns = tile.layout.columns;
  for (int64_t row = tile.rows.begin; row < tile.rows.end; ++row) {
    copy_past_caches(from + tile.layout.at(row, columns.begin), columns.end - columns.begin,
                     canvas + row * width + columns.begin);
  }
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace cpu
}  // namespace softraster
