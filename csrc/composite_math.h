// How coverages merge in a pixel, and how the pixel's gradient comes back to them: one channel,
// values in, values out. g++ and nvcc both compile it. Equations: docs/math.md.
#pragma once
#include "fast_exp.h"

namespace softraster {

// In the order of COMPOSITES in softraster/_arguments.py.
enum class Composite : int64_t { kSum = 0, kMax = 1, kSoftor = 2, kOver = 3 };

// What a pass over the segments of a pixel does. The first four draw; kWinner and kRest find out
// what the backward passes of kMax and kSoftor need to know, see Scratch.
enum class Merge { kSum, kMax, kSoftor, kOver, kWinner, kRest };

// In Scratch::marks.
constexpr int32_t kNobody = -1;     // nothing was drawn there
constexpr int32_t kEverybody = -2;  // the canvas is NaN: every segment takes grad_canvas as it is

// opacity: coverage * intensity, times color under kSoftor.
template <class T>
SOFTRASTER_HOST_DEVICE T softor(T canvas, T opacity) {
  return canvas + opacity * (T(1) - canvas);
}
template <class T>
SOFTRASTER_HOST_DEVICE T over(T canvas, T opacity, T color) {
  return canvas + opacity * (color - canvas);
}

// A factor 1 - opacity below this counts as 0 under kSoftor: dividing by it would only give noise.
template <class T>
SOFTRASTER_HOST_DEVICE T zero_factor() {
  return sizeof(T) == 4 ? T(1e-6) : T(1e-14);
}

// d canvas / d opacity under kMax, for the segment `index`.
template <class T>
SOFTRASTER_HOST_DEVICE T max_share(int32_t mark, int32_t index) {
  return mark == index || mark == kEverybody ? T(1) : T(0);
}

// The same under kSoftor, for a segment whose own factor is `factor`: the product of the others.
template <class T>
SOFTRASTER_HOST_DEVICE T softor_share(int32_t zeros, T rest, T factor) {
  if (zeros == kEverybody) return T(1);
  // Twice the bound, since a factor computed anew may differ in its last bit.
  if (zeros > 0) return zeros == 1 && fabs(factor) < 2 * zero_factor<T>() ? rest : T(0);
  // It differs by more where ends are so far away that a pixel's place is lost in rounding.
  return rest / (fabs(factor) < zero_factor<T>() ? zero_factor<T>() : factor);
}

}  // namespace softraster
