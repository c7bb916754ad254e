// The maths of one segment at one pixel: coverage and its derivatives, values in, values out.
// g++ and nvcc both compile it; loops, threads and memory are left to cpu/ and cuda/.
//
// Lengths are in pixels, and softness is per pixel. The equations (M1, M2, ...) that the comments
// name are those of docs/math.md.
#pragma once
#include "fast_exp.h"

namespace softraster {

// In the order of COVERAGES in softraster/_arguments.py.
enum class Coverage : int64_t { kGrid = 0, kCapsule = 1 };

// A segment shorter than this along both axes has no direction: it is a dot.
constexpr double kDotLength = 1e-6;

// The soft box B(u) = s(k (r - u)) s(k (r + u)), s the logistic function: 1 within r of its centre,
// 0 beyond, even in u (M2). Every factor of the coverage is one.
template <class T>
struct BoxShape {
  T half;      // r
  T softness;  // k
  T decay;     // exp(-2 k r)
  T range;     // |u| - r is clamped to this, where exponents stop
};

template <class T>
SOFTRASTER_HOST_DEVICE BoxShape<T> box_shape(double half, double softness, T decay) {
  const double limit = ExpLimit<T>::value;
  return {T(half), T(softness), decay, softness > 0 ? T(limit / softness) : T(1e30)};
}

// With its decay.
template <class T>
SOFTRASTER_HOST_DEVICE BoxShape<T> box_shape(double half, double softness) {
  const T exponent = clamp(T(-2 * softness * half), T(-2 * ExpLimit<T>::value), T(0));
  return box_shape(half, softness, fast_exp(exponent));
}

template <class T>
struct Box {
  T value;
  T near_tail;  // 1 - s(k (r - |u|)): the complement at the edge on the pixel's side
  T far_tail;   // 1 - s(k (r + |u|)): the complement at the other edge
};

// One exponential and one division serve the value and both tails. odds = exp(k (|u| - r)); or
// exp(k (u - r)), where no number format is too small for it and the decay: then the near edge is
// the one at u = r, for negative u, too.
template <class T>
SOFTRASTER_HOST_DEVICE Box<T> soft_box_of(T odds, const BoxShape<T>& shape) {
  const T inverse = reciprocal((T(1) + odds) * (odds + shape.decay));
  const T value = at_most_one(odds * inverse);
  return {value, value * (odds + shape.decay), shape.decay * (T(1) + odds) * inverse};
}

// distance = |u|.
template <class T>
SOFTRASTER_HOST_DEVICE Box<T> soft_box(T distance, const BoxShape<T>& shape) {
  const T beyond = clamp(distance - shape.half, -shape.range, shape.range);
  return soft_box_of(fast_exp(shape.softness * beyond), shape);
}

// d log B / d|u|, d log B / dr (both divided by k) and d log B / dk (M6).
template <class T>
SOFTRASTER_HOST_DEVICE T log_box_by_distance(const Box<T>& box) {
  return box.far_tail - box.near_tail;
}
template <class T>
SOFTRASTER_HOST_DEVICE T log_box_by_half(const Box<T>& box) {
  return box.near_tail + box.far_tail;
}
template <class T>
SOFTRASTER_HOST_DEVICE T log_box_by_softness(const Box<T>& box, T distance, T half) {
  return (half - distance) * box.near_tail + (half + distance) * box.far_tail;
}

// How a segment's coverage is computed. Under kGrid the longer axis decides.
enum class Kind { kFlat, kSteep, kDot, kCapsule };

// A segment in pixels, seen from its midpoint, with what all its pixels share.
template <class T>
struct Segment {
  double mid_x, mid_y;
  double dx, dy;
  double softness;
  double reach;  // beyond this distance the coverage is below the tolerance (M5)
  Kind kind;
  // 0: not finite, or negative softness or width; its canvas becomes NaN. An int, so that Segment
  // has no bytes that nobody writes.
  int32_t valid;

  double slope;              // kGrid: shorter over longer axis, |slope| <= 1; 0 for a dot
  BoxShape<T> window;        // across the line; kCapsule: without its decay
  BoxShape<T> box_x, box_y;  // kGrid: its rectangle, half a pixel wider

  double along_x, along_y;    // kCapsule: unit vector from first to second end; (1, 0) for a dot
  T half_length, half_width;  // kCapsule
};

// ends: x1, y1, x2, y2 in units of `side` pixels; width in the same, for kCapsule.
// log_tolerance = -log(tolerance) > 0, infinite to visit every pixel.
template <class T>
SOFTRASTER_HOST_DEVICE Segment<T> make_segment(const T* ends, T softness, T width,
                                               Coverage coverage, double side,
                                               double log_tolerance) {
  Segment<T> s;
  // Differences first: contracted to fma, x2 * side - x1 * side need not be 0 for x1 = x2.
  const double x1 = ends[0], y1 = ends[1], x2 = ends[2], y2 = ends[3];
  s.dx = (x2 - x1) * side;
  s.dy = (y2 - y1) * side;
  s.mid_x = 0.5 * (x1 + x2) * side;
  s.mid_y = 0.5 * (y1 + y2) * side;
  s.softness = softness / side;
  const double half_width = 0.5 * width * side;
  // 0 * x is 0 for every finite x, and NaN otherwise.
  const double zero = 0 * s.mid_x + 0 * s.mid_y + 0 * s.dx + 0 * s.dy + 0 * s.softness;
  s.valid = zero + 0 * half_width == 0 && s.softness >= 0 && half_width >= 0;
  const double length_x = fabs(s.dx), length_y = fabs(s.dy);
  const bool dot = length_x < kDotLength && length_y < kDotLength;
  if (dot) s.dx = s.dy = 0;
  s.reach = coverage == Coverage::kGrid ? 0.5 : half_width;
  s.reach = s.softness > 0 ? s.reach + log_tolerance / s.softness : HUGE_VAL;
  if (coverage == Coverage::kCapsule) {
    s.kind = Kind::kCapsule;
    const double length = sqrt(s.dx * s.dx + s.dy * s.dy);
    s.along_x = dot ? 1 : s.dx / length;
    s.along_y = dot ? 0 : s.dy / length;
    s.half_length = T(0.5 * length);
    s.half_width = T(half_width);
  } else {
    s.kind = dot ? Kind::kDot : (length_x >= length_y ? Kind::kFlat : Kind::kSteep);
    s.slope = dot ? 0 : (s.kind == Kind::kFlat ? s.dy / s.dx : s.dx / s.dy);
  }
  return s;
}

// Completes what only segments on the canvas need.
template <class T>
SOFTRASTER_HOST_DEVICE void shape_boxes(Segment<T>& s) {
  if (s.kind == Kind::kCapsule) {  // its window has one edge
    s.window = box_shape(double(s.half_width), s.softness, T(0));
    return;
  }
  s.window = box_shape<T>(0.5, s.softness);
  s.box_x = box_shape<T>(0.5 * (fabs(s.dx) + 1), s.softness);
  s.box_y = box_shape<T>(0.5 * (fabs(s.dy) + 1), s.softness);
}

// Coverage of a pixel, and the derivatives of its logarithm. Their meaning differs by kind:
// by_first and by_second are with respect to
//   kFlat, kSteep: the offset of the pixel from the line; unused. Without the boxes' derivatives.
//   kCapsule:      the nearest point of the segment, moved along and across it.
template <class T>
struct CoverageGrad {
  T coverage;
  T by_first, by_second;
  T by_softness;
  T by_width;  // kCapsule
  T lever;     // kCapsule: where the nearest point lies, -1 at the first end to 1 at the second
};

// A pixel whose centre is `offset` from the line, measured along the shorter axis (M3, M7); window:
// of soft_box_of() for exp(k (offset - r)).
template <class T>
SOFTRASTER_HOST_DEVICE CoverageGrad<T> grid_coverage(T offset, const Box<T>& window, T box_x,
                                                     T box_y, const Segment<T>& s) {
  return {window.value * box_x * box_y,
          s.window.softness * log_box_by_distance(window),
          T(0),
          log_box_by_softness(window, offset, s.window.half),
          T(0),
          T(0)};
}

// The same for offsets and softness of any size.
template <class T>
SOFTRASTER_HOST_DEVICE CoverageGrad<T> grid_coverage(T offset, T box_x, T box_y,
                                                     const Segment<T>& s) {
  const T distance = T(fabs(offset));
  CoverageGrad<T> pixel = grid_coverage(distance, soft_box(distance, s.window), box_x, box_y, s);
  pixel.by_first = offset < 0 ? -pixel.by_first : pixel.by_first;
  return pixel;
}

// The nearer of the two axes through a dot makes its window, which is then the box itself (M4).
template <class T>
SOFTRASTER_HOST_DEVICE T dot_coverage(T box_x, T box_y) {
  return box_x * box_y * (box_x > box_y ? box_x : box_y);
}

// How often each box counts in a dot's coverage: twice for the larger, once for the other.
template <class T>
SOFTRASTER_HOST_DEVICE T dot_power(T box, T other_box) {
  return box > other_box ? T(2) : (box < other_box ? T(1) : T(1.5));
}

// A pixel whose centre is `along` and `across` the segment from its midpoint (M9, M10).
template <class T>
SOFTRASTER_HOST_DEVICE CoverageGrad<T> capsule_coverage(T along, T across, const Segment<T>& s) {
  const T nearest = clamp(along, -s.half_length, s.half_length);
  const T beyond = along - nearest;
  const T distance = T(sqrt(across * across + beyond * beyond));
  const T depth = clamp(s.half_width - distance, -s.window.range, s.window.range);
  const T e = fast_exp(-s.window.softness * depth);
  const T value = reciprocal(T(1) + e);
  const T by_distance = s.window.softness * (e * value);  // minus d log I / d distance
  const T scale = by_distance / (distance > T(0) ? distance : T(1));
  return {value,
          scale * beyond,
          scale * across,
          e * value * (s.half_width - distance),
          T(0.5) * by_distance,
          s.half_length > T(0) ? nearest / s.half_length : T(0)};
}

// Where a pixel lies as seen from a segment: (x, y) from its midpoint, on two axes. kFlat, kSteep:
// first is the offset from the line, second the distance along the longer axis; kCapsule: first is
// along, second across the segment.
struct Axes {
  double first_x, first_y;
  double second_x, second_y;
};

template <class T>
SOFTRASTER_HOST_DEVICE Axes axes_of(Kind kind, const Segment<T>& s) {
  if (kind == Kind::kFlat) return {s.slope, -1, 1, 0};
  if (kind == Kind::kSteep) return {-1, s.slope, 0, 1};
  if (kind == Kind::kDot) return {};
  return {s.along_x, s.along_y, -s.along_y, s.along_x};
}

// A pixel on the axes, and what one more column or row adds.
template <class T>
struct Place {
  T first, first_by_column, first_by_row;
  T second, second_by_column, second_by_row;
};

// In double at first: far from the midpoint, the small offset is the difference of large numbers.
template <class T>
SOFTRASTER_HOST_DEVICE Place<T> place_pixel(const Axes& axes, const Segment<T>& s, double column,
                                            double row) {
  const double x = column + 0.5 - s.mid_x, y = row + 0.5 - s.mid_y;
  return {T(axes.first_x * x + axes.first_y * y),   T(axes.first_x),  T(axes.first_y),
          T(axes.second_x * x + axes.second_y * y), T(axes.second_x), T(axes.second_y)};
}
template <class T>
SOFTRASTER_HOST_DEVICE Place<T> place_pixel(Kind kind, const Segment<T>& s, int64_t column,
                                            int64_t row) {
  return place_pixel(axes_of(kind, s), s, double(column), double(row));
}

// Any kind's coverage; first and second as in Place, boxes of the pixel's column and row.
template <class T>
SOFTRASTER_HOST_DEVICE CoverageGrad<T> cover_pixel(Kind kind, const Segment<T>& s, T first,
                                                   T second, T box_x, T box_y) {
  if (kind == Kind::kDot) return {dot_coverage(box_x, box_y), T(0), T(0), T(0), T(0), T(0)};
  if (kind == Kind::kCapsule) return capsule_coverage(first, second, s);
  return grid_coverage(first, box_x, box_y, s);
}

// A segment's gradient in pixels, per unit of intensity, before the chain rule to its ends (M8).
struct SegmentSums {
  double ink;  // sum of d loss / d coverage * coverage
  double by_mid_x, by_mid_y, by_dx, by_dy;
  double by_softness, by_width;

  SOFTRASTER_HOST_DEVICE void operator+=(const SegmentSums& more) {
    ink += more.ink;
    by_mid_x += more.by_mid_x, by_mid_y += more.by_mid_y;
    by_dx += more.by_dx, by_dy += more.by_dy;
    by_softness += more.by_softness, by_width += more.by_width;
  }
};

// Sums over pixels of ink times the derivatives of CoverageGrad and of the boxes, under kGrid.
struct GridSums {
  double by_offset, by_offset_arm;  // arm: times the distance along the longer axis from mid
  double by_mid_x, by_mid_y;        // through the boxes' centres
  double by_half_x, by_half_y;      // through the boxes' half widths
};

template <class T>
SOFTRASTER_HOST_DEVICE void add_grid_sums(const GridSums& grid, const Segment<T>& s,
                                          SegmentSums& sums) {
  sums.by_mid_x += grid.by_mid_x;
  sums.by_mid_y += grid.by_mid_y;
  sums.by_dx += 0.5 * (s.dx > 0 ? 1 : (s.dx < 0 ? -1 : 0)) * grid.by_half_x;
  sums.by_dy += 0.5 * (s.dy > 0 ? 1 : (s.dy < 0 ? -1 : 0)) * grid.by_half_y;
  if (s.kind == Kind::kFlat) {  // offset = slope * (x - mid_x) - (y - mid_y)
    sums.by_mid_x -= s.slope * grid.by_offset;
    sums.by_mid_y += grid.by_offset;
    sums.by_dy += grid.by_offset_arm / s.dx;
    sums.by_dx -= grid.by_offset_arm / s.dx * s.slope;
  } else if (s.kind == Kind::kSteep) {  // offset = slope * (y - mid_y) - (x - mid_x)
    sums.by_mid_y -= s.slope * grid.by_offset;
    sums.by_mid_x += grid.by_offset;
    sums.by_dx += grid.by_offset_arm / s.dy;
    sums.by_dy -= grid.by_offset_arm / s.dy * s.slope;
  }
}

// The same under kCapsule; lever: times CoverageGrad::lever.
struct CapsuleSums {
  double by_along, by_across, by_along_lever, by_across_lever;
};

template <class T>
SOFTRASTER_HOST_DEVICE void add_capsule_sums(const CapsuleSums& capsule, const Segment<T>& s,
                                             SegmentSums& sums) {
  sums.by_mid_x += s.along_x * capsule.by_along - s.along_y * capsule.by_across;
  sums.by_mid_y += s.along_y * capsule.by_along + s.along_x * capsule.by_across;
  sums.by_dx += 0.5 * (s.along_x * capsule.by_along_lever - s.along_y * capsule.by_across_lever);
  sums.by_dy += 0.5 * (s.along_y * capsule.by_along_lever + s.along_x * capsule.by_across_lever);
}

// Gradient with respect to (x1, y1, x2, y2), softness and width, in the canvas's units (M8).
struct SegmentGrad {
  double ends[4];
  double softness, width;
};

SOFTRASTER_HOST_DEVICE SegmentGrad segment_grad(const SegmentSums& sums, double side) {
  return {{side * (0.5 * sums.by_mid_x - sums.by_dx), side * (0.5 * sums.by_mid_y - sums.by_dy),
           side * (0.5 * sums.by_mid_x + sums.by_dx), side * (0.5 * sums.by_mid_y + sums.by_dy)},
          sums.by_softness / side,
          sums.by_width * side};
}

}  // namespace softraster
