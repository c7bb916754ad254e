// Forward on the CPU: parallel over bands of rows, of which a large canvas's are cut into tiles. A
// tile walks the segments in order and merges each into the pixels that it reaches, so a pixel has
// one order, whatever the tiles and the threads.
#include "forward.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "passes.h"

namespace softraster {
namespace cpu {
namespace {

SOFTRASTER_VECTOR_CLONES bool draw_tile_clone(Merge merge, const DrawSegmentsParams<float>& p,
                                              int64_t item, const DrawnTile<float>& drawn) {
  const bool plain = merge == Merge::kSum && !p.color;
  return plain ? draw_tile<true>(merge, p, item, drawn) : draw_tile<false>(merge, p, item, drawn);
}
SOFTRASTER_VECTOR_CLONES bool draw_tile_clone(Merge merge, const DrawSegmentsParams<double>& p,
                                              int64_t item, const DrawnTile<double>& drawn) {
  const bool plain = merge == Merge::kSum && !p.color;
  return plain ? draw_tile<true>(merge, p, item, drawn) : draw_tile<false>(merge, p, item, drawn);
}

// Whether DrawnTile::best is kept.
template <class T>
bool needs_best(Merge merge, const DrawSegmentsParams<T>& p) {
  return merge == Merge::kWinner || (merge == Merge::kMax && p.color);
}

// One band a canvas where the batch feeds all threads, else as many as make the tasks of all
// threads equal. A canvas that is too large for the caches has tiles that are not. A band that
// needs `best` keeps it in scratch and so stays small.
template <class T>
TileGrid grid_of(Merge merge, const DrawSegmentsParams<T>& p) {
  constexpr int64_t kBandBytes = 1 << 21, kTileBytes = 1 << 19, kTileColumns = 256;
  constexpr int64_t kTasksEach = 2;
  const int64_t threads = num_threads(), batch = std::max<int64_t>(p.batch, 1);
  const int64_t equal = batch >= 8 * threads ? 1 : threads / std::gcd(batch, threads);
  const int64_t fed = threads == 1 ? 1 : (kTasksEach * threads + batch - 1) / batch;
  const bool apart = tiles_apart(p);
  const int64_t parts = apart ? (p.columns + kTileColumns - 1) / kTileColumns : 1;
  const int64_t bytes = canvas_bytes(p), large = bytes > 8 * kCacheBytes ? bytes / kBandBytes : 1;
  const int64_t cached = apart ? bytes / (parts * kTileBytes) : large;
  const int64_t best = needs_best(merge, p) ? (p.rows + 63) / 64 : 1;
  const int64_t bands = (std::max({fed, cached, best}) + equal - 1) / equal * equal;
  const int64_t most = std::max<int64_t>(1, p.rows / 16);
  return {p.rows, p.columns, std::max(best, std::min(bands, most)), parts};
}

// Of tasks that threads take in runs, the nth: dealt out in turn, so that no thread has all the
// bands of a canvas that have ink.
int64_t dealt(int64_t nth, int64_t tasks, int64_t threads) {
  const int64_t run = tasks / threads;
  return tasks % threads == 0 ? nth % run * threads + nth / run : nth;
}

// Rows that a segment reaches, and columns of its chunks; all where it makes the canvas NaN.
struct Footprint {
  int32_t rows_begin, rows_end, columns_begin, columns_end;

  Range rows() const { return {rows_begin, rows_end}; }
  Range columns() const { return {columns_begin, columns_end}; }
};

template <class T>
Footprint footprint_of(const DrawSegmentsParams<T>& p, int64_t at) {
  const Segment<T> s = segment_at(p, at);
  Range rows = {0, p.rows}, columns = {0, p.columns};
  const bool finite = 0 * intensity_at(p, at) == 0;
  if (s.valid && finite) {
    rows = row_support(s, rows), columns = chunk_columns(s, p.columns);
  }
  return {static_cast<int32_t>(rows.begin), static_cast<int32_t>(rows.end),
          static_cast<int32_t>(columns.begin), static_cast<int32_t>(columns.end)};
}

// Of each part of a band, the segments that reach it, as indices on the canvas.
using Members = std::vector<std::vector<int32_t> >;

template <class T>
void list_members(const DrawSegmentsParams<T>& p, int64_t item, Range rows, const TileGrid& grid,
                  const Footprint* footprints, Members& members) {
  for (std::vector<int32_t>& part : members) part.clear();
  for (int64_t i = 0; i < p.count; ++i) {
    const Range reached = overlap(footprints[i].rows(), rows), columns = footprints[i].columns();
    if (reached.empty()) continue;
    Range parts = grid.parts_of(columns);
    if (parts.end - parts.begin > 1) {
      const Segment<T> s = segment_at(p, item * p.count + i);
      if (s.valid) parts = grid.parts_of(columns_in_rows(s, reached, columns));
    }
    for (int64_t part = parts.begin; part < parts.end; ++part) {
      members[part].push_back(static_cast<int32_t>(i));
    }
  }
}

template <class Number>
void fill_planes(Number* first, int64_t planes, int64_t stride, int64_t size, Number value) {
  for (int64_t plane = 0; plane < planes; ++plane) std::fill_n(first + plane * stride, size, value);
}

template <class T>
T start_of(Merge merge, const DrawSegmentsParams<T>& p, int64_t item, int64_t channel) {
  if (merge == Merge::kRest) return 1;
  return merge == Merge::kOver && p.background ? p.background[item * p.channels + channel] : T(0);
}

template <class T>
int64_t mark_planes(Merge merge, const DrawSegmentsParams<T>& p) {
  return merge == Merge::kRest ? p.channels : 1;
}

template <class T>
void fill_and_draw(Merge merge, const DrawSegmentsParams<T>& p, int64_t item,
                   const DrawnTile<T>& drawn) {
  const int64_t size = drawn.tile.size();
  const auto fill_marks = [&](int32_t mark) {
    if (drawn.marks) fill_planes(drawn.marks, mark_planes(merge, p), drawn.stride, size, mark);
  };
  fill_marks(merge == Merge::kRest ? 0 : kNobody);
  if (drawn.best) std::fill_n(drawn.best, size, T(0));
  for (int64_t c = 0; drawn.canvas && c < p.channels; ++c) {
    std::fill_n(drawn.canvas + c * drawn.stride, size, start_of(merge, p, item, c));
  }
  if (draw_tile_clone(merge, p, item, drawn)) return;
  fill_marks(kEverybody);
  if (drawn.canvas) {
    const T nan = std::numeric_limits<T>::quiet_NaN();
    fill_planes(drawn.canvas, p.channels, drawn.stride, size, nan);
  }
}

// A canvas, or what a pass finds out about it; null where there is no such thing.
template <class T>
struct Target {
  T* canvas;
  int32_t* marks;
};

// What is drawn into before it is copied.
template <class T>
struct TileBuffer {
  std::vector<T> canvas, best;
  std::vector<int32_t> marks;
};

template <class Number>
Number* sized(int64_t size, std::vector<Number>& numbers) {
  numbers.resize(size);
  return numbers.data();
}

// Draws a part of a band of the target.
template <class T>
void draw_part(Merge merge, const DrawSegmentsParams<T>& p, int64_t item, DrawnTile<T> drawn,
               TileBuffer<T>& buffer, const Target<T>& target) {
  const int64_t size = drawn.tile.size(), planes = mark_planes(merge, p);
  if (needs_best(merge, p)) drawn.best = sized(size, buffer.best);
  if (!tiles_apart(p)) {
    const int64_t first = drawn.tile.rows.begin * p.columns;
    drawn.stride = p.pixels();
    if (target.canvas) drawn.canvas = target.canvas + first;
    if (target.marks) drawn.marks = target.marks + first;
    return fill_and_draw(merge, p, item, drawn);
  }
  drawn.stride = size;
  if (target.canvas) drawn.canvas = sized(p.channels * size, buffer.canvas);
  if (target.marks) drawn.marks = sized(planes * size, buffer.marks);
  fill_and_draw(merge, p, item, drawn);
  for (int64_t c = 0; target.canvas && c < p.channels; ++c) {
    copy_back(drawn.tile, drawn.canvas + c * size, p.columns, target.canvas + c * p.pixels());
  }
  for (int64_t c = 0; target.marks && c < planes; ++c) {
    copy_back(drawn.tile, drawn.marks + c * size, p.columns, target.marks + c * p.pixels());
  }
}

template <class T>
void draw_all(Merge merge, const DrawSegmentsParams<T>& p, T* canvas, int32_t* marks) {
  const TileGrid grid = grid_of(merge, p);
  const int64_t grain = std::max<int64_t>(1, 64 / std::max<int64_t>(p.count, 1));
  const bool listed = grid.tiles() > 1;
  std::vector<Footprint> footprints(listed ? p.batch * p.count : 0);
  parallel_for(footprints.size(), 1024, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) footprints[at] = footprint_of(p, at);
  });
  const int64_t tasks = p.batch * grid.bands, threads = num_threads();
  parallel_for(tasks, grain, [&](int64_t begin, int64_t end) {
    Block<T> block(p.rows, p.columns, /*with_grads=*/false);
    TileBuffer<T> buffer;
    Members members(listed ? grid.parts : 0);
    for (int64_t nth = begin; nth < end; ++nth) {
      const int64_t task = dealt(nth, tasks, threads);
      const int64_t item = task / grid.bands;
      const Range rows = grid.band(task % grid.bands);
      const Target<T> target = {
          canvas ? canvas + item * p.channels * p.pixels() : nullptr,
          marks ? marks + item * mark_planes(merge, p) * p.pixels() : nullptr};
      if (listed) {
        list_members(p, item, rows, grid, footprints.data() + item * p.count, members);
      }
      for (int64_t part = 0; part < grid.parts; ++part) {
        DrawnTile<T> drawn = {};
        drawn.tile = tile_of(p, rows, grid.part(part));
        drawn.block = &block;
        drawn.members = listed ? &members[part] : nullptr;
        draw_part(merge, p, item, drawn, buffer, target);
      }
    }
  });
}

template <class T>
void draw(const DrawSegmentsParams<T>& p, T* canvas) {
  constexpr Merge kMerges[] = {Merge::kSum, Merge::kMax, Merge::kSoftor, Merge::kOver};
  draw_all(kMerges[static_cast<int64_t>(p.composite)], p, canvas, static_cast<int32_t*>(nullptr));
}

template <class T>
void survey(const DrawSegmentsParams<T>& p, const Scratch<T>& scratch) {
  if (p.composite == Composite::kMax) {
    draw_all<T>(Merge::kWinner, p, nullptr, scratch.marks);
  } else if (p.composite == Composite::kSoftor) {
    draw_all(Merge::kRest, p, scratch.rest, scratch.marks);
  }
}

}  // namespace

void launch_draw_segments(const DrawSegmentsParams<float>& p, float* canvas) { draw(p, canvas); }
void launch_draw_segments(const DrawSegmentsParams<double>& p, double* canvas) { draw(p, canvas); }

void fill_scratch(const DrawSegmentsParams<float>& p, const Scratch<float>& s) { survey(p, s); }
void fill_scratch(const DrawSegmentsParams<double>& p, const Scratch<double>& s) { survey(p, s); }

}  // namespace cpu
}  // namespace softraster
