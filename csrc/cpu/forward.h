// Drawing one band of rows: what the forward pass does everywhere, and backward passes do again.
#pragma once
#include "block.h"
#include "merge.h"

namespace softraster {
namespace cpu {

// The rows that a segment reaches; all of them where it makes the canvas NaN.
struct RowSpan {
  int32_t begin, end;
};

template <class T>
SOFTRASTER_INLINE RowSpan span_of(const DrawSegmentsParams<T>& p, int64_t at) {
  const Segment<T> s = segment_at(p, at);
  if (!s.valid || !(0 * intensity_at(p, at) == 0)) return {0, static_cast<int32_t>(p.rows)};
  const Range rows = row_support(s, {0, p.rows});
  return {static_cast<int32_t>(rows.begin), static_cast<int32_t>(rows.end)};
}

// Pointers are to the first pixel of row 0 of the canvas; null where a merge has no use for them.
template <class T>
struct Band {
  Range rows;
  T* canvas;
  int32_t* marks;
  int64_t stride;  // from plane to plane of canvas and marks
  T* best;         // (rows of the band, columns): its first pixel is that of the band
  Block<T>* block;
  const RowSpan* spans;  // of the canvas's segments; null where the band is the canvas
};

// visit(pixel, coverage times intensity, lanes) for the listed chunks of a segment; lanes may be
// more than kLanes.
template <Kind kind, class T, class Visit>
SOFTRASTER_INLINE void cover_list(const ReadySegment<T>& ready, T intensity, int64_t width,
                                  const Visit& visit) {
  constexpr bool boxed = kind != Kind::kCapsule;
  const Segment<T> s = ready.s;  // a copy, which nothing that is written here can change
  const LaneSteps<T> steps = lane_steps(kind, s);
  const BoxTable<T> x = ready.x, y = ready.y;
  const ChunkList<T>& list = ready.list;
  const int64_t size = list.size;  // wide: under -fwrapv, setuptools' choice, int32_t costs 30 %
  for (int64_t i = 0; i < size; ++i) {
    const int64_t row = list.row[i], column = list.column[i];
    const T* __restrict box_x = boxed ? x.value + x.at(column) : nullptr;
    const T box_y = boxed ? y.value[y.at(row)] : T(0);
    T coverage[kLanes], first[kLanes], second[kLanes];
    store(list.first[i] + steps.first, first);
    store(list.second[i] + steps.second, second);
    for (int lane = 0; lane < kLanes; ++lane) {
      const CoverageGrad<T> pixel =
          cover_pixel(kind, s, first[lane], second[lane], boxed ? box_x[lane] : T(0), box_y);
      coverage[lane] = intensity * pixel.coverage;
    }
    visit(row * width + column, coverage, width - column);
  }
}

// The same for all chunks of a segment.
template <class T, class Visit>
SOFTRASTER_INLINE void cover_segment(ReadySegment<T>& ready, T intensity, int64_t width,
                                     const Visit& visit) {
  with_kind(ready.s, [&](auto kind) SOFTRASTER_INLINE_LAMBDA {
    do {
      cover_list<kind.value>(ready, intensity, width, visit);
    } while (ready.list_more());
  });
}

// Merges a segment into a band: first the coverages of a list of chunks, then their pixels.
template <class T>
SOFTRASTER_INLINE void merge_segment(Merge merge, const DrawSegmentsParams<T>& p, int32_t index,
                                     int64_t first_pixel, const Band<T>& band,
                                     ReadySegment<T>& ready) {
  T opacities[kListed * kLanes];
  const T* const color = p.color ? p.color + ready.at * p.channels : nullptr;
  do {
    T* next = opacities;
    const auto keep = [&next](int64_t, const T* coverage, int64_t) SOFTRASTER_INLINE_LAMBDA {
      copy_lanes(coverage, next);
      next += kLanes;
    };
    with_kind(ready.s, [&](auto kind) SOFTRASTER_INLINE_LAMBDA {
      cover_list<kind.value>(ready, intensity_at(p, ready.at), p.columns, keep);
    });
    with_merge(merge, color != nullptr, [&](auto merge, auto colored) SOFTRASTER_INLINE_LAMBDA {
      ChunkCanvas<T> at = {nullptr, nullptr, nullptr, band.stride, colored ? p.channels : 1};
      const int64_t width = p.columns;
      for (int32_t i = 0; i < ready.list.size; ++i) {
        const int64_t column = ready.list.column[i], pixel = ready.list.row[i] * width + column;
        if (band.canvas) at.canvas = band.canvas + pixel;
        if (band.best) at.best = band.best + (pixel - first_pixel);
        if (band.marks) at.marks = band.marks + pixel;
        merge_chunk<merge.value, colored.value>(opacities + i * kLanes, width - column, index,
                                                color, at);
      }
    });
  } while (ready.list_more());
}

// Draws the segments of a canvas onto a band. False where one is invalid: then the whole canvas is
// to become NaN. plain: merge is kSum, without colors: the usual case, compiled on its own, whose
// pixels are merged as soon as they are covered.
template <bool plain, class T>
SOFTRASTER_INLINE bool draw_band(Merge merge, const DrawSegmentsParams<T>& p, int64_t item,
                                 const Band<T>& band) {
  const int64_t first_pixel = band.rows.begin * p.columns, begin = item * p.count;
  const int64_t end = begin + p.count;
  const Pixels<T> pixels = pixels_of<T>(band.canvas, canvas_bytes(p) <= kCacheBytes, p);
  int64_t next = begin;
  bool valid = true;
  const auto next_at = [&]() SOFTRASTER_INLINE_LAMBDA {
    for (; band.spans && next < end; ++next) {
      const RowSpan span = band.spans[next - begin];
      if (span.begin < band.rows.end && span.end > band.rows.begin) break;
    }
    return next < end ? next++ : int64_t{-1};
  };
  const auto add = [&](int64_t at, const SegmentLanes<T>& lanes, int i) SOFTRASTER_INLINE_LAMBDA {
    const T intensity = intensity_at(p, at);
    valid = lanes.valid[i] && 0 * intensity == 0;
    const BandRows rows(lanes.rows(i), band.rows);
    const Range columns = lanes.columns(i);
    if (valid && intensity != 0 && !rows.empty() && !columns.empty()) {
      band.block->template add<false>(at, lanes.segment(i), rows, columns, pixels);
    }
    return valid;
  };
  for_ready(p, *band.block, next_at, add, [&](ReadySegment<T>& ready) SOFTRASTER_INLINE_LAMBDA {
    if (!plain) {
      const int32_t index = static_cast<int32_t>(ready.at - begin);
      return merge_segment(merge, p, index, first_pixel, band, ready);
    }
    T* const canvas = band.canvas;
    const auto sum = [&](int64_t pixel, const T* coverage, int64_t lanes) SOFTRASTER_INLINE_LAMBDA {
      const ChunkCanvas<T> at = {canvas + pixel, nullptr, nullptr, 0, 1};
      merge_chunk<Merge::kSum, false, T>(coverage, lanes, 0, nullptr, at);
    };
    cover_segment(ready, intensity_at(p, ready.at), p.columns, sum);
  });
  return valid;
}

}  // namespace cpu
}  // namespace softraster
