// Elementary functions at the speed and accuracy that the formulas of segment_math.h need.
// g++ and nvcc both compile it.
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

// 1 / x for x between 2^-126 and 2^126; on CUDA within one unit in the last place.
SOFTRASTER_HOST_DEVICE float reciprocal(float x) {
#if defined(__CUDA_ARCH__)
  return __fdividef(1.f, x);
#else
  return 1.f / x;
#endif
}
SOFTRASTER_HOST_DEVICE double reciprocal(double x) { return 1. / x; }

// A quotient that is at most 1 but for the rounding of reciprocal(), which on the CPU cannot lift
// it above.
template <class T>
SOFTRASTER_HOST_DEVICE T at_most_one(T quotient) {
#if defined(__CUDA_ARCH__)
  return quotient > T(1) ? T(1) : quotient;
#else
  return quotient;
#endif
}

// Exponents stop at +- value, where a product of two exponentials would over- or underflow;
// exponentials that are products themselves, at exp_of_value, e^value.
template <class T>
struct ExpLimit;
template <>
struct ExpLimit<float> {
  static constexpr double value = 43, exp_of_value = 4.7278394682293e18;
};
template <>
struct ExpLimit<double> {
  static constexpr double value = 350, exp_of_value = 1.0070908870280797e152;
};

}  // namespace softraster
