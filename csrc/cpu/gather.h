// The gradient of one segment, gathered over the pixels that it reaches, which are drawn anew.
// How the canvas's gradient becomes that of a coverage is the composites': see the passes.
#pragma once
#include <vector>

#include "forward.h"

namespace softraster {
namespace cpu {

// Adds neighbouring lanes, a's into the lower half and b's into the upper.
template <class T>
SOFTRASTER_INLINE Lanes<T> add_pairs(const Lanes<T>& a, const Lanes<T>& b) {
  static_assert(kLanes == 8, "the shuffles have eight lanes");
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
}

// Adds up the lanes of eight sums at once.
template <class T>
SOFTRASTER_INLINE void add_lanes(const Lanes<T> (&sums)[8], double* totals) {
  const Lanes<T> all =
      add_pairs<T>(add_pairs<T>(add_pairs<T>(sums[0], sums[1]), add_pairs<T>(sums[2], sums[3])),
                   add_pairs<T>(add_pairs<T>(sums[4], sums[5]), add_pairs<T>(sums[6], sums[7])));
  for (int i = 0; i < 8; ++i) totals[i] += all[i];
}

// The sums of a segment; named as in CoverageGrad, SegmentSums and GridSums.
enum GridSum { kInk, kByFirst, kArm, kBySoftness, kByMidX, kByMidY, kByHalfX, kByHalfY };
enum CapsuleSum { kBySecond = 4, kSecondLever, kByWidth };  // besides the first four

template <class T>
struct LaneSums {
  Lanes<T> sums[8] = {};

  SOFTRASTER_INLINE void add(int which, const T* values) { sums[which] += load(values); }
};

template <class T>
struct Workspace {
  Block<T>* block;
  T* weights;          // (channels, kLanes): d loss / d (coverage * color), null without colors
  T* color_lanes;      // (channels, kLanes): sums for color_sums, null without colors
  double* color_sums;  // (channels,): sums of weight * coverage over the segment
  int64_t channels;
};

template <class T>
SOFTRASTER_INLINE void fold_lanes(const LaneSums<T>& lanes, const Workspace<T>& work,
                                  double* totals) {
  add_lanes<T>(lanes.sums, totals);
  for (int64_t c = 0; work.weights && c < work.channels; ++c) {
    for (int lane = 0; lane < kLanes; ++lane) {
      work.color_sums[c] += work.color_lanes[c * kLanes + lane];
      work.color_lanes[c * kLanes + lane] = 0;
    }
  }
}

// pixel_grads(pixel, lanes, coverage, out, weights) writes d loss / d coverage of kLanes pixels to
// out, 0 beyond `lanes`; and to weights if that is not null. lanes may be more than kLanes.
// steps: a Place of the segment, for what a column adds.
template <Kind kind, class T, class PixelGrads>
SOFTRASTER_INLINE void gather_chunk(const Segment<T>& s, const ReadySegment<T>& ready,
                                    const Place<T>& steps, int32_t i, int64_t width,
                                    const Workspace<T>& work, LaneSums<T>& sums,
                                    PixelGrads& pixel_grads) {
  constexpr bool boxed = kind != Kind::kCapsule, dot = kind == Kind::kDot;
  const ChunkList<T>& list = ready.list;
  const BoxTable<T>&x = ready.x, &y = ready.y;
  const int64_t row = list.row[i], column = list.column[i];
  const int64_t at_x = boxed ? x.at(column) : 0, at_y = boxed ? y.at(row) : 0;
  const T box_y = boxed ? y.value[at_y] : T(0);
  T coverage[kLanes], first[kLanes], second[kLanes], softness[kLanes], by_width[kLanes],
      arm[kLanes], second_lever[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const T place_first = list.first[i] + T(lane) * steps.first_by_column;
    const T place_second = list.second[i] + T(lane) * steps.second_by_column;
    const T box_x = boxed ? x.value[at_x + lane] : T(0);
    const CoverageGrad<T> pixel = cover_pixel(kind, s, place_first, place_second, box_x, box_y);
    coverage[lane] = pixel.coverage;
    first[lane] = pixel.by_first, second[lane] = pixel.by_second;
    softness[lane] = pixel.by_softness, by_width[lane] = pixel.by_width;
    arm[lane] = pixel.by_first * (boxed ? place_second : pixel.lever);
    second_lever[lane] = pixel.by_second * pixel.lever;
  }
  T ink[kLanes];
  pixel_grads(row * width + column, width - column, coverage, ink, work.weights);
  for (int64_t c = 0; work.weights && c < work.channels; ++c) {
    T* const sum = work.color_lanes + c * kLanes;
    store(load(sum) + load(work.weights + c * kLanes) * load(coverage), sum);
  }
  T mid_x[kLanes], mid_y[kLanes], half_x[kLanes], half_y[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    ink[lane] *= coverage[lane];
    first[lane] *= ink[lane], second[lane] *= ink[lane];
    arm[lane] *= ink[lane], second_lever[lane] *= ink[lane];
    by_width[lane] *= ink[lane];
    if (boxed) {
      const T box_x = x.value[at_x + lane];
      const T ink_x = dot ? ink[lane] * dot_power(box_x, box_y) : ink[lane];
      const T ink_y = dot ? ink[lane] * dot_power(box_y, box_x) : ink[lane];
      mid_x[lane] = ink_x * x.by_mid[at_x + lane], mid_y[lane] = ink_y * y.by_mid[at_y];
      half_x[lane] = ink_x * x.by_half[at_x + lane], half_y[lane] = ink_y * y.by_half[at_y];
      softness[lane] = ink[lane] * softness[lane] + ink_x * x.by_softness[at_x + lane] +
                       ink_y * y.by_softness[at_y];
    } else {
      softness[lane] *= ink[lane];
    }
  }
  sums.add(kInk, ink), sums.add(kBySoftness, softness);
  if (!dot) sums.add(kByFirst, first), sums.add(kArm, arm);
  if (boxed) {
    sums.add(kByMidX, mid_x), sums.add(kByMidY, mid_y);
    sums.add(kByHalfX, half_x), sums.add(kByHalfY, half_y);
  } else {
    sums.add(kBySecond, second), sums.add(kSecondLever, second_lever);
    sums.add(kByWidth, by_width);
  }
}

// Adds a segment to its sums.
template <Kind kind, class T, class PixelGrads>
SOFTRASTER_INLINE void gather_segment(ReadySegment<T>& ready, int64_t width,
                                      const Workspace<T>& work, PixelGrads& pixel_grads,
                                      SegmentSums& sums) {
  const Segment<T> s = ready.s;  // a copy, which nothing that is written here can change
  const Place<T> steps = place_pixel(kind, s, 0, 0);
  double totals[8] = {};
  do {
    LaneSums<T> lanes;
    for (int32_t i = 0; i < ready.list.size; ++i) {
      gather_chunk<kind>(s, ready, steps, i, width, work, lanes, pixel_grads);
    }
    fold_lanes(lanes, work, totals);
  } while (ready.list_more());
  sums.ink += totals[kInk];
  sums.by_softness += totals[kBySoftness];
  if (kind == Kind::kCapsule) {
    sums.by_width += totals[kByWidth];
    add_capsule_sums({totals[kByFirst], totals[kBySecond], totals[kArm], totals[kSecondLever]}, s,
                     sums);
  } else {
    add_grid_sums({totals[kByFirst], totals[kArm], totals[kByMidX], totals[kByMidY],
                   totals[kByHalfX], totals[kByHalfY]},
                  s, sums);
  }
}

// Memory for a Workspace.
template <class T>
struct WorkspaceBuffer {
  std::vector<T> numbers;
  std::vector<double> sums;
  Block<T> block;
  Workspace<T> work;

  explicit WorkspaceBuffer(const DrawSegmentsParams<T>& p)
      : numbers(p.color ? 2 * p.channels * kLanes : 0),
        sums(p.color ? p.channels : 0),
        block(p.rows, p.columns, /*with_grads=*/true) {
    T* const lanes = numbers.data();
    work = {&block, p.color ? lanes : nullptr, p.color ? lanes + p.channels * kLanes : nullptr,
            sums.data(), p.channels};
  }
};

}  // namespace cpu
}  // namespace softraster
