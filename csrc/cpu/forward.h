// Drawing one tile: what the forward pass does everywhere, and backward passes do again.
#pragma once
#include "block.h"
#include "merge.h"
#include "tiles.h"

namespace softraster {
namespace cpu {

// A tile while it is drawn. Pointers are to its first pixel; null where a merge has no use for
// them.
template <class T>
struct DrawnTile {
  Tile tile;
  T* canvas;
  int32_t* marks;
  int64_t stride;  // from plane to plane of canvas and marks
  T* best;
  Block<T>* block;
  const std::vector<int32_t>* members;  // segments that reach it, in their order; null: any may
};

// visit(pixel, coverage times intensity, lanes) for the listed chunks of a segment; lanes may be
// more than kLanes.
template <Cover cover, class T, class Visit>
SOFTRASTER_INLINE void cover_list(const ReadySegment<T>& ready, T intensity, const Layout& layout,
                                  const Visit& visit) {
  constexpr bool boxed = cover != Cover::kCapsule;
  const Segment<T> s = ready.s;  // a copy, which nothing that is written here can change
  const BoxTable<T> x = ready.x, y = ready.y;
  const ChunkList<T>& list = ready.list;
  const LaneSteps<T> steps = lane_steps<cover>(s, list);
  const int64_t size = list.size;  // wide: under -fwrapv, setuptools' choice, int32_t costs 30 %
  for (int64_t i = 0; i < size; ++i) {
    const int64_t row = list.row[i], column = list.column[i];
    const T* __restrict box_x = boxed ? x.value + x.at(column) : nullptr;
    const T box_y = boxed ? y.value[y.at(row)] : T(0);
    T coverage[kLanes], first[kLanes], second[kLanes], odds[kLanes];
    store(list.first[i] + steps.first, first);
    store(list.second[i] + steps.second, second);
    store(odds_of<cover>(list, i, steps), odds);
    for (int lane = 0; lane < kLanes; ++lane) {
      const CoverageGrad<T> pixel = cover_lane<cover>(s, first[lane], second[lane], odds[lane],
                                                      boxed ? box_x[lane] : T(0), box_y);
      coverage[lane] = intensity * pixel.coverage;
    }
    visit(layout.at(row, column), coverage, layout.lanes(column));
  }
}

// The same for all chunks of a segment.
template <class T, class Visit>
SOFTRASTER_INLINE void cover_segment(ReadySegment<T>& ready, T intensity, const Layout layout,
                                     const Visit& visit) {
  with_cover(ready.cover, [&](auto cover) SOFTRASTER_INLINE_LAMBDA {
    do {
      cover_list<cover.value>(ready, intensity, layout, visit);
    } while (ready.list_more());
  });
}

// Merges a segment into a tile: first the coverages of a list of chunks, then their pixels.
template <class T>
SOFTRASTER_INLINE void merge_segment(Merge merge, const DrawSegmentsParams<T>& p, int32_t index,
                                     const DrawnTile<T>& drawn, ReadySegment<T>& ready) {
  const Layout layout = drawn.tile.layout;
  T opacities[kListed * kLanes];
  const T* const color = p.color ? p.color + ready.at * p.channels : nullptr;
  do {
    T* next = opacities;
    const auto keep = [&next](int64_t, const T* coverage, int64_t) SOFTRASTER_INLINE_LAMBDA {
      copy_lanes(coverage, next);
      next += kLanes;
    };
    with_cover(ready.cover, [&](auto cover) SOFTRASTER_INLINE_LAMBDA {
      cover_list<cover.value>(ready, intensity_at(p, ready.at), layout, keep);
    });
    with_merge(merge, color != nullptr, [&](auto merge, auto colored) SOFTRASTER_INLINE_LAMBDA {
      ChunkCanvas<T> at = {nullptr, nullptr, nullptr, drawn.stride, colored ? p.channels : 1};
      for (int32_t i = 0; i < ready.list.size; ++i) {
        const int64_t column = ready.list.column[i], pixel = layout.at(ready.list.row[i], column);
        if (drawn.canvas) at.canvas = drawn.canvas + pixel;
        if (drawn.best) at.best = drawn.best + pixel;
        if (drawn.marks) at.marks = drawn.marks + pixel;
        merge_chunk<merge.value, colored.value>(opacities + i * kLanes, layout.lanes(column), index,
                                                color, at);
      }
    });
  } while (ready.list_more());
}

// Draws the segments of a canvas onto a tile. False where one is invalid: then the whole canvas is
// to become NaN. plain: merge is kSum, without colors: the usual case, compiled on its own, whose
// pixels are merged as soon as they are covered.
template <bool plain, class T>
SOFTRASTER_INLINE bool draw_tile(Merge merge, const DrawSegmentsParams<T>& p, int64_t item,
                                 const DrawnTile<T>& drawn) {
  const int64_t begin = item * p.count;
  const int32_t* const members = drawn.members ? drawn.members->data() : nullptr;
  const int64_t count = drawn.members ? drawn.members->size() : p.count;
  const Tile tile = drawn.tile;
  const bool cached = tiles_apart(p) || canvas_bytes(p) <= kCacheBytes;
  const Pixels<T> pixels = {cached ? nullptr : drawn.canvas, p.channels, drawn.stride, tile.layout};
  int64_t next = 0;
  bool valid = true;
  const auto next_at = [&]() SOFTRASTER_INLINE_LAMBDA {
    if (next == count) return int64_t{-1};
    const int64_t index = next++;
    return begin + (members ? members[index] : index);
  };
  const auto add = [&](int64_t at, const SegmentLanes<T>& lanes, int i) SOFTRASTER_INLINE_LAMBDA {
    const T intensity = intensity_at(p, at);
    valid = lanes.valid[i] && 0 * intensity == 0;
    const BandRows rows(lanes.rows(i), tile.rows);
    const Range columns = lanes.columns(i);
    if (valid && intensity != 0 && !rows.empty() && !columns.empty()) {
      drawn.block->template add<false>(at, lanes.segment(i), rows, columns, pixels);
    }
    return valid;
  };
  const auto visit = [&](ReadySegment<T>& ready) SOFTRASTER_INLINE_LAMBDA {
    if (!plain) {
      const int32_t index = static_cast<int32_t>(ready.at - begin);
      return merge_segment(merge, p, index, drawn, ready);
    }
    T* const canvas = drawn.canvas;
    const auto sum = [&](int64_t pixel, const T* coverage, int64_t lanes) SOFTRASTER_INLINE_LAMBDA {
      const ChunkCanvas<T> at = {canvas + pixel, nullptr, nullptr, 0, 1};
      merge_chunk<Merge::kSum, false, T>(coverage, lanes, 0, nullptr, at);
    };
    cover_segment(ready, intensity_at(p, ready.at), tile.layout, sum);
  };
  for_ready<false>(p, *drawn.block, next_at, add, visit);
  return valid;
}

}  // namespace cpu
}  // namespace softraster
