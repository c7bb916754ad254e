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
  AlignedLanes<T>* color_lanes;  // (channels,): sums for color_sums, null without colors
  double* color_sums;            // (channels,): sums of weight * coverage over the segment
  int64_t channels;
};

template <class T>
SOFTRASTER_INLINE void fold_lanes(const LaneSums<T>& sums, const Workspace<T>& work,
                                  double* totals) {
  add_lanes<T>(sums.sums, totals);
  for (int64_t c = 0; work.color_lanes && c < work.channels; ++c) {
    T* const lanes = work.color_lanes[c].numbers;
    const Lanes<T> sum = load(lanes), pairs = add_pairs<T>(sum, sum);
    const Lanes<T> quads = add_pairs<T>(pairs, pairs);
    work.color_sums[c] += quads[0] + quads[1];
    store(Lanes<T>{}, lanes);
  }
}

// pixel_grads(pixel, lanes, coverage, out, add_color) writes d loss / d coverage of kLanes pixels
// to out, 0 beyond `lanes`, which may be more than kLanes; and if there are colors, it calls
// add_color(channel, d loss / d (coverage * color)).
template <Cover cover, class T, class PixelGrads>
SOFTRASTER_INLINE void gather_chunk(const Segment<T>& s, const BoxTable<T>& x, const BoxTable<T>& y,
                                    const ChunkList<T>& list, int32_t i, const LaneSteps<T>& steps,
                                    const Layout& layout, const Workspace<T>& work,
                                    LaneSums<T>& sums, PixelGrads& pixel_grads) {
  constexpr bool boxed = cover != Cover::kCapsule, dot = cover == Cover::kDot;
  const int64_t row = list.row[i], column = list.column[i];
  const int64_t at_x = boxed ? x.at(column) : 0, at_y = boxed ? y.at(row) : 0;
  const T box_y = boxed ? y.value[at_y] : T(0);
  T coverage[kLanes], first[kLanes], second[kLanes], softness[kLanes], by_width[kLanes],
      arm[kLanes], second_lever[kLanes];
  T place_first[kLanes], place_second[kLanes], odds[kLanes];
  store(list.first[i] + steps.first, place_first);
  store(list.second[i] + steps.second, place_second);
  store(odds_of<cover>(list, i, steps), odds);
  for (int lane = 0; lane < kLanes; ++lane) {
    const T box_x = boxed ? x.value[at_x + lane] : T(0);
    const CoverageGrad<T> pixel =
        cover_lane<cover>(s, place_first[lane], place_second[lane], odds[lane], box_x, box_y);
    coverage[lane] = pixel.coverage;
    first[lane] = pixel.by_first, second[lane] = pixel.by_second;
    softness[lane] = pixel.by_softness, by_width[lane] = pixel.by_width;
    arm[lane] = pixel.by_first * (boxed ? place_second[lane] : pixel.lever);
    second_lever[lane] = pixel.by_second * pixel.lever;
  }
  T ink[kLanes];
  const Lanes<T> covered = load(coverage);
  const auto add_color = [&](int64_t c, const Lanes<T>& weight) SOFTRASTER_INLINE_LAMBDA {
    T* const sum = work.color_lanes[c].numbers;
    store(load(sum) + weight * covered, sum);
  };
  pixel_grads(layout.at(row, column), layout.lanes(column), coverage, ink, add_color);
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
template <Cover cover, class T, class PixelGrads>
SOFTRASTER_INLINE void gather_segment(ReadySegment<T>& ready, const Layout layout,
                                      const Workspace<T> work, PixelGrads& pixel_grads,
                                      SegmentSums& sums) {
  // Copies, as `work` is, which nothing that is written here can change.
  const Segment<T> s = ready.s;
  const BoxTable<T> x = ready.x, y = ready.y;
  const LaneSteps<T> steps = lane_steps<cover>(s, ready.list);
  double totals[8] = {};
  do {
    LaneSums<T> lanes;
    const int32_t size = ready.list.size;
    for (int32_t i = 0; i < size; ++i) {
      gather_chunk<cover>(s, x, y, ready.list, i, steps, layout, work, lanes, pixel_grads);
    }
    fold_lanes(lanes, work, totals);
  } while (ready.list_more());
  sums.ink += totals[kInk];
  sums.by_softness += totals[kBySoftness];
  if (cover == Cover::kCapsule) {
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
  std::vector<AlignedLanes<T> > lanes;
  std::vector<double> sums;
  Block<T> block;
  Workspace<T> work;

  explicit WorkspaceBuffer(const DrawSegmentsParams<T>& p)
      : lanes(p.color ? p.channels : 0),
        sums(p.color ? p.channels : 0),
        block(p.rows, p.columns, /*with_grads=*/true) {
    work = {&block, p.color ? lanes.data() : nullptr, sums.data(), p.channels};
  }
};

}  // namespace cpu
}  // namespace softraster
