// The maths of one segment at one pixel: coverage and its derivatives, values in, values out.
// g++ and nvcc both compile it; loops, threads and memory are left to cpu/ and cuda/.
//
// Lengths are in pixels, and softness is per pixel. The equations (M1 to M8) that the comments name
// are those of docs/math.md.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define SOFTRASTER_HOST_DEVICE __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define SOFTRASTER_HOST_DEVICE __forceinline
#else
#define SOFTRASTER_HOST_DEVICE inline __attribute__((always_inline))
#endif

namespace softraster {

// A segment shorter than this along both axes has no direction: it is a dot.
constexpr double kDotLength = 1e-6;

template <class T>
SOFTRASTER_HOST_DEVICE T clamp(T x, T low, T high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

// exp(x) for |x| within the range where the result is a normal number: branch-free, so that loops
// over it become vector code. Relative error under 2e-7 (float) and 4e-16 (double).
SOFTRASTER_HOST_DEVICE float fast_exp(float x) {
#if defined(__CUDA_ARCH__)
  return expf(x);
#else
  const float shifted =
      x * 1.44269504f + 12582912.f;  // 1.5 * 2^23: the low bits are now round(x / ln 2)
  const float n = shifted - 12582912.f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  float poly = 0.0013836793f;  // minimax on |r| <= ln 2 / 2, relative error 2e-9 before rounding
  poly = poly * r + 0.008374857f;
  poly = poly * r + 0.04166823f;
  poly = poly * r + 0.1666642f;
  poly = poly * r + 0.4999999f;
  poly = poly * r + 1.f;
  poly = poly * r + 1.f;
  uint32_t bits, exponent;
  std::memcpy(&bits, &poly, sizeof bits);
  std::memcpy(&exponent, &shifted, sizeof exponent);
  bits += exponent << 23;
  std::memcpy(&poly, &bits, sizeof poly);
  return poly;
#endif
}

SOFTRASTER_HOST_DEVICE double fast_exp(double x) {
#if defined(__CUDA_ARCH__)
  return exp(x);
#else
  const double shifted = x * 1.4426950408889634 + 6755399441055744.0;  // 1.5 * 2^52
  const double n = shifted - 6755399441055744.0;
  const double r = (x - n * 6.93147180369123816490e-1) - n * 1.90821492927058770002e-10;
  double poly = 1.0 / 6227020800;  // Taylor: |r| <= ln 2 / 2
  poly = poly * r + 1.0 / 479001600;
  poly = poly * r + 1.0 / 39916800;
  poly = poly * r + 1.0 / 3628800;
  poly = poly * r + 1.0 / 362880;
  poly = poly * r + 1.0 / 40320;
  poly = poly * r + 1.0 / 5040;
  poly = poly * r + 1.0 / 720;
  poly = poly * r + 1.0 / 120;
  poly = poly * r + 1.0 / 24;
  poly = poly * r + 1.0 / 6;
  poly = poly * r + 0.5;
  poly = poly * r + 1.0;
  poly = poly * r + 1.0;
  uint64_t bits, exponent;
  std::memcpy(&bits, &poly, sizeof bits);
  std::memcpy(&exponent, &shifted, sizeof exponent);
  bits += exponent << 52;
  std::memcpy(&poly, &bits, sizeof poly);
  return poly;
#endif
}

// Exponents stop where a product of two exponentials would over- or underflow.
template <class T>
struct ExpLimit;
template <>
struct ExpLimit<float> {
  static constexpr double value = 43;
};
template <>
struct ExpLimit<double> {
  static constexpr double value = 350;
};

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
SOFTRASTER_HOST_DEVICE BoxShape<T> box_shape(double half, double softness) {
  const double limit = ExpLimit<T>::value;
  const double exponent = clamp(-2 * softness * half, -2 * limit, 0.0);
  return {T(half), T(softness), fast_exp(T(exponent)),
          softness > 0 ? T(limit / softness) : T(1e30)};
}

template <class T>
struct Box {
  T value;
  T near_tail;  // 1 - s(k (r - |u|)): the complement at the edge on the pixel's side
  T far_tail;   // 1 - s(k (r + |u|)): the complement at the other edge
};

// One exponential and one division serve the value and both tails; distance = |u|.
template <class T>
SOFTRASTER_HOST_DEVICE Box<T> soft_box(T distance, const BoxShape<T>& shape) {
  const T e = fast_exp(shape.softness * clamp(distance - shape.half, -shape.range, shape.range));
  const T inverse = T(1) / ((T(1) + e) * (e + shape.decay));
  const T value = e * inverse;
  return {value, value * (e + shape.decay), shape.decay * (T(1) + e) * inverse};
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

enum class Axis { kX, kY, kDot };  // the longer axis of a segment, along which its line is sampled

// A segment in pixels, seen from its midpoint, with what all its pixels share.
template <class T>
struct Segment {
  double mid_x, mid_y;
  double dx, dy;
  double slope;  // shorter over longer axis, |slope| <= 1; 0 for a dot
  double reach;  // beyond this distance a box is below the tolerance (M5)
  double softness;
  BoxShape<T> window, box_x, box_y;  // across the line; and of its rectangle, half a pixel wider
  Axis axis;
  bool valid;  // false: not finite, or negative softness; its canvas becomes NaN
};

// log_tolerance = -log(tolerance) > 0, infinite to visit every pixel.
template <class T>
SOFTRASTER_HOST_DEVICE Segment<T> make_segment(const T* ends, T softness, double side,
                                               double log_tolerance) {
  Segment<T> s;
  // Differences first: contracted to fma, x2 * side - x1 * side need not be 0 for x1 = x2.
  const double x1 = ends[0], y1 = ends[1], x2 = ends[2], y2 = ends[3];
  s.dx = (x2 - x1) * side;
  s.dy = (y2 - y1) * side;
  s.mid_x = 0.5 * (x1 + x2) * side;
  s.mid_y = 0.5 * (y1 + y2) * side;
  const double per_pixel = softness / side;
  // 0 * x is 0 for every finite x, and NaN otherwise.
  s.valid = 0 * s.mid_x + 0 * s.mid_y + 0 * s.dx + 0 * s.dy + 0 * per_pixel == 0 && per_pixel >= 0;
  const double length_x = fabs(s.dx), length_y = fabs(s.dy);
  if (length_x < kDotLength && length_y < kDotLength) {
    s.axis = Axis::kDot;
    s.dx = s.dy = s.slope = 0;
  } else if (length_x >= length_y) {
    s.axis = Axis::kX;
    s.slope = s.dy / s.dx;
  } else {
    s.axis = Axis::kY;
    s.slope = s.dx / s.dy;
  }
  s.reach = per_pixel > 0 ? 0.5 + log_tolerance / per_pixel : HUGE_VAL;
  s.softness = per_pixel;
  return s;
}

// Completes what only segments on the canvas need.
template <class T>
SOFTRASTER_HOST_DEVICE void shape_boxes(Segment<T>& s) {
  s.window = box_shape<T>(0.5, s.softness);
  s.box_x = box_shape<T>(0.5 * (fabs(s.dx) + 1), s.softness);
  s.box_y = box_shape<T>(0.5 * (fabs(s.dy) + 1), s.softness);
}

// Coverage of a pixel whose centre is `offset` from the line, measured along the shorter axis (M3).
template <class T>
SOFTRASTER_HOST_DEVICE T coverage(T offset, T box_x, T box_y, const Segment<T>& s) {
  return soft_box(T(fabs(offset)), s.window).value * box_x * box_y;
}

// The nearer of the two axes through a dot makes its window, which is then the box itself (M4).
template <class T>
SOFTRASTER_HOST_DEVICE T dot_coverage(T box_x, T box_y) {
  return box_x * box_y * (box_x > box_y ? box_x : box_y);
}

// One pixel's share of a segment's gradient, given grad = d loss / d coverage (M7).
template <class T>
struct CoverageGrad {
  T ink;          // grad * coverage: what the boxes' logarithmic derivatives are weighted with
  T by_offset;    // with respect to offset
  T by_softness;  // through the window; the boxes add theirs
};

template <class T>
SOFTRASTER_HOST_DEVICE CoverageGrad<T> coverage_grad(T grad, T offset, T box_x, T box_y,
                                                     const Segment<T>& s) {
  const T distance = T(fabs(offset));
  const Box<T> window = soft_box(distance, s.window);
  const T ink = grad * window.value * box_x * box_y;
  const T by_distance = ink * s.window.softness * log_box_by_distance(window);
  return {ink, offset < 0 ? -by_distance : by_distance,
          ink * log_box_by_softness(window, distance, s.window.half)};
}

// How often each box counts in a dot's coverage: twice for the larger, once for the other.
template <class T>
SOFTRASTER_HOST_DEVICE T dot_power(T box, T other_box) {
  return box > other_box ? T(2) : (box < other_box ? T(1) : T(1.5));
}

// Sums of a segment's pixels, per unit of intensity.
struct SegmentSums {
  double ink;                       // sum of grad * coverage
  double by_offset, by_offset_arm;  // sums of by_offset, and of by_offset times the distance along
                                    // the longer axis from the midpoint
  double by_mid_x, by_mid_y;        // through the boxes' centres
  double by_half_x, by_half_y;      // through the boxes' half extents
  double by_softness;
};

// Gradient with respect to (x1, y1, x2, y2) and softness, in the canvas's units (M8).
struct SegmentGrad {
  double ends[4];
  double softness;
};

template <class T>
SOFTRASTER_HOST_DEVICE SegmentGrad segment_grad(const SegmentSums& sums, const Segment<T>& s,
                                                double side) {
  double mid_x = sums.by_mid_x, mid_y = sums.by_mid_y;
  const double sign_x = s.dx > 0 ? 1 : (s.dx < 0 ? -1 : 0),
               sign_y = s.dy > 0 ? 1 : (s.dy < 0 ? -1 : 0);
  double by_dx = 0.5 * sign_x * sums.by_half_x, by_dy = 0.5 * sign_y * sums.by_half_y;
  if (s.axis == Axis::kX) {  // offset = slope * (x - mid_x) - (y - mid_y)
    mid_x -= s.slope * sums.by_offset;
    mid_y += sums.by_offset;
    by_dy += sums.by_offset_arm / s.dx;
    by_dx -= sums.by_offset_arm / s.dx * s.slope;
  } else if (s.axis == Axis::kY) {  // offset = slope * (y - mid_y) - (x - mid_x)
    mid_y -= s.slope * sums.by_offset;
    mid_x += sums.by_offset;
    by_dx += sums.by_offset_arm / s.dy;
    by_dy -= sums.by_offset_arm / s.dy * s.slope;
  }
  return {{side * (0.5 * mid_x - by_dx), side * (0.5 * mid_y - by_dy), side * (0.5 * mid_x + by_dx),
           side * (0.5 * mid_y + by_dy)},
          sums.by_softness / side};
}

}  // namespace softraster
