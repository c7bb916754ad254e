// What a segment's pixels add up to, first in a thread, then in a warp, then for the segment (M8).
#pragma once
#include "prepare.h"

namespace softraster {
namespace cuda {

// Places in an array of sums: those of all kinds, then those of kGrid and those of kCapsule. Named
// as in GridSums and CapsuleSums; kArm: by_first times the distance along the longer axis from the
// midpoint, or times lever. Sums for the colors of a group of channels follow.
enum SumPlace {
  kInk,
  kBySoftness,
  kByFirst,
  kArm,
  kByMidX,
  kByMidY,
  kByHalfX,
  kByHalfY,
  kSums,
  kBySecond = kByMidX,
  kSecondLever,
  kByWidth,
};

template <class T>
struct PixelBoxes {
  Box<T> x, y;
  T from_mid_x, from_mid_y;  // the pixel's centre from the segment's midpoint
};

// ink: d loss / d coverage * coverage of a pixel, per unit of intensity.
template <Coverage kCoverage, class T>
SOFTRASTER_HOST_DEVICE void add_pixel(const Segment<T>& s, const CoverageGrad<T>& pixel, T ink,
                                      const PixelBoxes<T>& boxes, T* sums) {
  const T first = ink * pixel.by_first;
  sums[kInk] += ink;
  sums[kBySoftness] += ink * pixel.by_softness;
  sums[kByFirst] += first;
  if (kCoverage == Coverage::kCapsule) {
    const T second = ink * pixel.by_second;
    sums[kArm] += first * pixel.lever;
    sums[kBySecond] += second;
    sums[kSecondLever] += second * pixel.lever;
    sums[kByWidth] += ink * pixel.by_width;
    return;
  }
  sums[kArm] += first * (s.kind == Kind::kSteep ? boxes.from_mid_y : boxes.from_mid_x);
  const bool dot = s.kind == Kind::kDot;
  const T ink_x = dot ? ink * dot_power(boxes.x.value, boxes.y.value) : ink;
  const T ink_y = dot ? ink * dot_power(boxes.y.value, boxes.x.value) : ink;
  const T by_x = ink_x * s.window.softness * log_box_by_distance(boxes.x);
  const T by_y = ink_y * s.window.softness * log_box_by_distance(boxes.y);
  sums[kByMidX] += boxes.from_mid_x < 0 ? by_x : -by_x;
  sums[kByMidY] += boxes.from_mid_y < 0 ? by_y : -by_y;
  sums[kByHalfX] += ink_x * s.window.softness * log_box_by_half(boxes.x);
  sums[kByHalfY] += ink_y * s.window.softness * log_box_by_half(boxes.y);
  sums[kBySoftness] +=
      ink_x * log_box_by_softness(boxes.x, T(fabs(boxes.from_mid_x)), s.box_x.half);
  sums[kBySoftness] +=
      ink_y * log_box_by_softness(boxes.y, T(fabs(boxes.from_mid_y)), s.box_y.half);
}

// The sum over a warp's lanes, the same in every lane.
template <class N>
__device__ N warp_sum(N number) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    number += __shfl_xor_sync(kAllLanes, number, step);
  }
  return number;
}

template <Coverage kCoverage, class T>
SOFTRASTER_HOST_DEVICE SegmentSums segment_sums(const Segment<T>& s, const double* sums) {
  SegmentSums out = {};
  out.ink = sums[kInk];
  out.by_softness = sums[kBySoftness];
  if (kCoverage == Coverage::kCapsule) {
    out.by_width = sums[kByWidth];
    add_capsule_sums({sums[kByFirst], sums[kBySecond], sums[kArm], sums[kSecondLever]}, s, out);
  } else {
    add_grid_sums(
        {sums[kByFirst], sums[kArm], sums[kByMidX], sums[kByMidY], sums[kByHalfX], sums[kByHalfY]},
        s, out);
  }
  return out;
}

}  // namespace cuda
}  // namespace softraster
