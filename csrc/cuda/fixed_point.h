// Sums whose last bit does not depend on the order of their terms: integers of 128 bits, added
// atomically, in units of a power of two far below the largest gradient of the canvas.
#pragma once
#include <cstring>

#include "prepare.h"

namespace softraster {
namespace cuda {

using Word = unsigned long long;  // what atomicAdd takes

struct FixedSum {
  Word low, high;  // two's complement
};

// The unit is 2^-56 of the largest |grad_canvas|. One term may be 2^46 times that number, which
// leaves room for 2^24 terms.
constexpr int kUnitBits = 56;
constexpr double kLargestTerm = 5.0706024009129176e30;  // 2^102 units
constexpr int kTermBits = 40;  // of a pixel's term, times the number; a warp adds 32 of them

// Bits of |number|; they grow with it, and are largest for infinities and NaN.
SOFTRASTER_HOST_DEVICE Word magnitude_bits(double number) {
  Word bits;
  std::memcpy(&bits, &number, sizeof bits);
  return bits & 0x7fffffffffffffffull;
}

SOFTRASTER_HOST_DEVICE bool is_finite(Word magnitude) { return magnitude < 0x7ff0000000000000ull; }

// |number| < 2^bits; for 0, below all others.
SOFTRASTER_HOST_DEVICE int bits_before_point(double number) {
  return static_cast<int>(magnitude_bits(number) >> 52) - 1022;
}

SOFTRASTER_HOST_DEVICE double power_of_two(int exponent) {
  const Word bits = static_cast<Word>(exponent + 1023) << 52;
  double number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

// Units in 1, for the bits of the largest |grad_canvas|; too few for gradients all below 2^-956.
SOFTRASTER_HOST_DEVICE double units_per_one(Word peak) {
  const int exponent = static_cast<int>(peak >> 52) - 1023;
  return power_of_two(kUnitBits - (exponent > -900 ? exponent : -900));
}

// Adds a number of units; false, and nothing added, if it is not finite or too large.
__device__ inline bool add_units(FixedSum* sum, double units) {
  constexpr double kTwo64 = 18446744073709551616.0;
  const double size = rint(fabs(units));
  if (!(size < kLargestTerm)) return false;
  Word high = static_cast<Word>(size / kTwo64);
  Word low = static_cast<Word>(size - static_cast<double>(high) * kTwo64);
  if (units < 0) {
    low = ~low + 1;
    high = ~high + (low == 0 ? 1 : 0);
  }
  const Word before = atomicAdd(&sum->low, low);
  high += before + low < low ? 1 : 0;
  if (high != 0) atomicAdd(&sum->high, high);
  return true;
}

SOFTRASTER_HOST_DEVICE double units_of(const FixedSum& sum) {
  const bool negative = sum.high >> 63;
  const Word low = negative ? ~sum.low + 1 : sum.low;
  const Word high = negative ? ~sum.high + (low == 0 ? 1 : 0) : sum.high;
  const double size = static_cast<double>(high) * 18446744073709551616.0 + static_cast<double>(low);
  return negative ? -size : size;
}

}  // namespace cuda
}  // namespace softraster
