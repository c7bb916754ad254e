// A block's view of a canvas: its tile of pixels, the segments that meet the tile, found in drawing
// order without a list in memory, and a stage of them in shared memory. No barrier of a block may
// depend on what one of its threads alone knows.
#pragma once
#include <type_traits>

#include "prepare.h"

namespace softraster {
namespace cuda {

// A thread is a pixel; a warp is a part of kPartColumns x kPartRows of them.
constexpr int kTileColumns = 32, kTileRows = 8;
constexpr int kPartColumns = 8, kPartRows = 4;
constexpr int kStage = kWarp;  // a lane of each warp looks at one staged segment
constexpr int kListRoom = 2 * kThreads;

static_assert(kTileColumns * kTileRows == kThreads, "a thread is a pixel");
static_assert(kPartColumns * kPartRows == kWarp, "a lane is a pixel");

struct Tile {
  int64_t item;
  Bounds bounds;
  int64_t first_channel;  // of at most kMaxChannels
};

// All tiles of all canvases, once for each group of channels.
struct TileGrid {
  int64_t across, down, channel_groups, tiles;

  template <class T>
  SOFTRASTER_HOST_DEVICE explicit TileGrid(const DrawSegmentsParams<T>& p)
      : across((p.columns + kTileColumns - 1) / kTileColumns),
        down((p.rows + kTileRows - 1) / kTileRows),
        channel_groups((p.channels + kMaxChannels - 1) / kMaxChannels),
        tiles(p.batch * channel_groups * down * across) {}

  SOFTRASTER_HOST_DEVICE Tile tile(int64_t index) const {
    const int32_t left = int32_t(index % across) * kTileColumns;
    index /= across;
    const int32_t top = int32_t(index % down) * kTileRows;
    index /= down;
    return {index / channel_groups,
            {left, top, left + kTileColumns, top + kTileRows},
            index % channel_groups * kMaxChannels};
  }
};

// This thread's pixel, counted from the tile's first.
struct Pixel {
  int column, row;
};

__device__ inline Pixel own_pixel() {
  const int part = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  constexpr int kPartsAcross = kTileColumns / kPartColumns;
  return {part % kPartsAcross * kPartColumns + lane % kPartColumns,
          part / kPartsAcross * kPartRows + lane / kPartColumns};
}

// The block's shared memory. kTails: with what the gradients of the boxes need.
template <class T, bool kTails, int kChannels>
struct Stage {
  using BoxEntry = typename std::conditional<kTails, Box<T>, T>::type;
  Segment<T> segments[kStage];
  Place<T> places[kStage];  // of the tile's first pixel
  Bounds bounds[kStage];
  T intensity[kStage];
  T color[kStage][kChannels];
  BoxEntry box_x[kStage][kTileColumns], box_y[kStage][kTileRows];  // kGrid
  int32_t index[kStage];

  int32_t list[kListRoom];
  int32_t groups[kThreads];
  int32_t warp_counts[kWarps];
};

// Appends the numbers of those threads that want it, in the order of the threads. Its first barrier
// lets the others finish with the list, its second makes the list known.
__device__ inline int append(bool wanted, int32_t number, int32_t* list, int count,
                             int32_t* warp_counts) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const unsigned mask = __ballot_sync(kAllLanes, wanted);
  if (lane == 0) warp_counts[warp] = __popc(mask);
  __syncthreads();
  int before = 0, total = 0;
  for (int other = 0; other < kWarps; ++other) {
    before += other < warp ? warp_counts[other] : 0;
    total += warp_counts[other];
  }
  if (wanted) list[count + before + __popc(mask & ((1u << lane) - 1))] = number;
  __syncthreads();
  return count + total;
}

// How far a block has walked through the segments of its canvas.
struct Walk {
  int64_t next_group = 0;   // in the order of the walk
  int found = 0, used = 0;  // groups in Stage::groups, and how many of them are behind
};

// Lists the next segments that meet the tile; returns how many, 0 at the walk's end. kLastFirst:
// against the drawing order.
template <bool kLastFirst, class T, class Memory>
__device__ int next_segments(const DrawSegmentsParams<T>& p, const Prepared<T>& prepared,
                             const Tile& tile, Walk& walk, Memory& memory) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const Bounds* group_bounds = prepared.group_bounds + tile.item * prepared.groups;
  const Bounds* bounds = prepared.bounds + tile.item * p.count;
  int count = 0;
  while (count + kThreads <= kListRoom) {
    if (walk.used >= walk.found) {
      if (walk.next_group >= prepared.groups) break;
      const int64_t nth = walk.next_group + threadIdx.x;
      const int64_t group = kLastFirst ? prepared.groups - 1 - nth : nth;
      const bool meets = nth < prepared.groups && tile.bounds.meets(group_bounds[group]);
      walk.found = append(meets, int32_t(group), memory.groups, 0, memory.warp_counts);
      walk.used = 0;
      walk.next_group += kThreads;
      continue;
    }
    const int at = walk.used + warp;
    int64_t n = p.count;
    if (at < walk.found) {
      n = int64_t(memory.groups[at]) * kWarp + (kLastFirst ? kWarp - 1 - lane : lane);
    }
    const bool meets = n < p.count && tile.bounds.meets(bounds[n]);
    count = append(meets, int32_t(n), memory.list, count, memory.warp_counts);
    walk.used += kWarps;
  }
  return count;
}

template <class T>
__device__ void set_box(T& entry, const Box<T>& box) {
  entry = box.value;
}
template <class T>
__device__ void set_box(Box<T>& entry, const Box<T>& box) {
  entry = box;
}
template <class T>
__device__ T box_value(const T& entry) {
  return entry;
}
template <class T>
__device__ T box_value(const Box<T>& entry) {
  return entry.value;
}

// Brings `count` listed segments into shared memory.
template <Coverage kCoverage, class T, bool kTails, int kChannels>
__device__ void fill_stage(const DrawSegmentsParams<T>& p, const Prepared<T>& prepared,
                           const Tile& tile, const int32_t* list, int count,
                           Stage<T, kTails, kChannels>& stage) {
  __syncthreads();  // the last stage may still be in use
  const int own = threadIdx.x;
  if (own < count) {
    const int64_t at = tile.item * p.count + list[own];
    const Segment<T> s = prepared.segments[at];
    stage.segments[own] = s;
    stage.places[own] = place_pixel(kind_of<kCoverage>(s), s, tile.bounds.left, tile.bounds.top);
    stage.bounds[own] = prepared.bounds[at];
    stage.intensity[own] = intensity_at(p, at);
    stage.index[own] = list[own];
    for (int c = 0; c < kChannels; ++c) {
      stage.color[own][c] = color_at(p, at, tile.first_channel + c);
    }
  }
  __syncthreads();
  if (kCoverage == Coverage::kCapsule) return;
  constexpr int kEntries = kTileColumns + kTileRows;
  for (int entry = threadIdx.x; entry < count * kEntries; entry += kThreads) {
    const int i = entry / kEntries, pixel = entry % kEntries;
    const Segment<T>& s = stage.segments[i];
    if (pixel < kTileColumns) {
      const T from_mid = T(tile.bounds.left + pixel + 0.5 - s.mid_x);
      set_box(stage.box_x[i][pixel], soft_box(T(fabs(from_mid)), s.box_x));
    } else {
      const int row = pixel - kTileColumns;
      const T from_mid = T(tile.bounds.top + row + 0.5 - s.mid_y);
      set_box(stage.box_y[i][row], soft_box(T(fabs(from_mid)), s.box_y));
    }
  }
  __syncthreads();
}

// Which of the `count` staged segments reach the warp's part of the tile: bit i is segment i.
template <Coverage kCoverage, class T, bool kTails, int kChannels>
__device__ unsigned segments_in_part(const Tile& tile, int count,
                                     const Stage<T, kTails, kChannels>& stage) {
  const int lane = threadIdx.x % kWarp;
  const Pixel own = own_pixel();
  const int column = own.column - lane % kPartColumns, row = own.row - lane / kPartColumns;
  bool reaches = false;
  if (lane < count) {
    const int32_t left = tile.bounds.left + column, top = tile.bounds.top + row;
    const Segment<T>& s = stage.segments[lane];
    const Place<T>& place = stage.places[lane];
    reaches = stage.bounds[lane].meets({left, top, left + kPartColumns, top + kPartRows});
    if (s.kind != Kind::kDot) {
      constexpr bool kAcross = kCoverage == Coverage::kCapsule;
      const T by_column = kAcross ? place.second_by_column : place.first_by_column;
      const T by_row = kAcross ? place.second_by_row : place.first_by_row;
      const T half_x = T(0.5) * (kPartColumns - 1), half_y = T(0.5) * (kPartRows - 1);
      const T middle = (kAcross ? place.second : place.first) + (column + half_x) * by_column +
                       (row + half_y) * by_row;
      const T arm = T(fabs(by_column)) * half_x + T(fabs(by_row)) * half_y;
      // A hundredth of a pixel for the rounding of what is compared.
      reaches = reaches && T(fabs(middle)) <= T(s.reach) + arm + T(0.01);
    }
  }
  return __ballot_sync(kAllLanes, reaches);
}

// Coverage of a pixel of the tile, counted from its first, by a staged segment.
template <Coverage kCoverage, class T>
SOFTRASTER_HOST_DEVICE CoverageGrad<T> cover_staged(const Segment<T>& s, const Place<T>& place,
                                                    Pixel pixel, T box_x, T box_y) {
  const T column = T(pixel.column), row = T(pixel.row);
  const Kind kind = kind_of<kCoverage>(s);
  return cover_pixel(
      kind, s, place.first + column * place.first_by_column + row * place.first_by_row,
      place.second + column * place.second_by_column + row * place.second_by_row, box_x, box_y);
}

}  // namespace cuda
}  // namespace softraster
