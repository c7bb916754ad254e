// Forward on the CPU: parallel over bands of rows. A band walks the segments in order and merges
// each into the pixels that it reaches, so a pixel has one order, whatever the bands and the
// threads.
#include "forward.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "passes.h"

namespace softraster {
namespace cpu {
namespace {

SOFTRASTER_VECTOR_CLONES bool draw_band_clone(Merge merge, const DrawSegmentsParams<float>& p,
                                              int64_t item, const Band<float>& band) {
  const bool plain = merge == Merge::kSum && !p.color;
  return plain ? draw_band<true>(merge, p, item, band) : draw_band<false>(merge, p, item, band);
}
SOFTRASTER_VECTOR_CLONES bool draw_band_clone(Merge merge, const DrawSegmentsParams<double>& p,
                                              int64_t item, const Band<double>& band) {
  const bool plain = merge == Merge::kSum && !p.color;
  return plain ? draw_band<true>(merge, p, item, band) : draw_band<false>(merge, p, item, band);
}

// One band a canvas where the batch feeds all threads, else as many as make the tasks of all
// threads equal. A canvas that is too large for the caches, above all for that of page addresses,
// has bands that are not. A band that needs `best` keeps it in scratch and so stays small.
template <class T>
int64_t bands_of(const DrawSegmentsParams<T>& p, bool needs_best) {
  constexpr int64_t kBandBytes = 1 << 21, kTasksEach = 2;
  const int64_t threads = num_threads(), batch = std::max<int64_t>(p.batch, 1);
  const int64_t equal = batch >= 8 * threads ? 1 : threads / std::gcd(batch, threads);
  const int64_t fed = threads == 1 ? 1 : (kTasksEach * threads + batch - 1) / batch;
  const int64_t bytes = canvas_bytes(p);
  const int64_t cached = bytes > 4 * kBandBytes ? bytes / kBandBytes : 1;
  const int64_t best = needs_best ? (p.rows + 63) / 64 : 1;
  const int64_t bands = (std::max({fed, cached, best}) + equal - 1) / equal * equal;
  return std::max(best, std::min(bands, std::max<int64_t>(1, p.rows / 16)));
}

// Of tasks that threads take in runs, the nth: dealt out in turn, so that no thread has all the
// bands of a canvas that have ink.
int64_t dealt(int64_t nth, int64_t tasks, int64_t threads) {
  const int64_t run = tasks / threads;
  return tasks % threads == 0 ? nth % run * threads + nth / run : nth;
}

template <class T>
void fill_planes(T* first, int64_t planes, int64_t stride, int64_t size, T value) {
  for (int64_t plane = 0; plane < planes; ++plane) std::fill_n(first + plane * stride, size, value);
}

template <class T>
T start_of(Merge merge, const DrawSegmentsParams<T>& p, int64_t item, int64_t channel) {
  if (merge == Merge::kRest) return 1;
  return merge == Merge::kOver && p.background ? p.background[item * p.channels + channel] : T(0);
}

template <class T>
void draw_task(Merge merge, const DrawSegmentsParams<T>& p, int64_t item, const Band<T>& band) {
  const int64_t offset = band.rows.begin * p.columns;
  const int64_t size = (band.rows.end - band.rows.begin) * p.columns;
  const bool counts_zeros = merge == Merge::kRest;
  const auto fill_marks = [&](int32_t mark) {
    if (!band.marks) return;
    fill_planes(band.marks + offset, counts_zeros ? p.channels : 1, band.stride, size, mark);
  };
  fill_marks(counts_zeros ? 0 : kNobody);
  if (band.best) std::fill_n(band.best, size, T(0));
  for (int64_t c = 0; band.canvas && c < p.channels; ++c) {
    std::fill_n(band.canvas + c * band.stride + offset, size, start_of(merge, p, item, c));
  }
  if (draw_band_clone(merge, p, item, band)) return;
  fill_marks(kEverybody);
  if (band.canvas) {
    const T nan = std::numeric_limits<T>::quiet_NaN();
    fill_planes(band.canvas + offset, p.channels, band.stride, size, nan);
  }
}

template <class T>
void draw_all(Merge merge, const DrawSegmentsParams<T>& p, T* canvas, int32_t* marks) {
  const bool needs_best = merge == Merge::kWinner || (merge == Merge::kMax && p.color);
  const int64_t bands = bands_of(p, needs_best);
  const int64_t grain = std::max<int64_t>(1, 64 / std::max<int64_t>(p.count, 1));
  const int64_t mark_planes = merge == Merge::kRest ? p.channels : 1;
  std::vector<RowSpan> spans(bands > 1 ? p.batch * p.count : 0);
  parallel_for(spans.size(), 1024, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) spans[at] = span_of(p, at);
  });
  const int64_t tasks = p.batch * bands, threads = num_threads();
  parallel_for(tasks, grain, [&](int64_t begin, int64_t end) {
    Block<T> block(p.rows, p.columns, /*with_grads=*/false);
    std::vector<T> best(needs_best ? (p.rows / bands + 1) * p.columns : 0);
    for (int64_t nth = begin; nth < end; ++nth) {
      const int64_t task = dealt(nth, tasks, threads);
      const int64_t item = task / bands, part = task % bands;
      Band<T> band;
      band.rows = {part * p.rows / bands, (part + 1) * p.rows / bands};
      band.stride = p.pixels();
      band.canvas = canvas ? canvas + item * p.channels * p.pixels() : nullptr;
      band.marks = marks ? marks + item * mark_planes * p.pixels() : nullptr;
      band.best = needs_best ? best.data() : nullptr;
      band.block = &block;
      band.spans = bands > 1 ? spans.data() + item * p.count : nullptr;
      draw_task(merge, p, item, band);
    }
  });
}

template <class T>
void draw(const DrawSegmentsParams<T>& p, T* canvas) {
  constexpr Merge kMerges[] = {Merge::kSum, Merge::kMax, Merge::kSoftor, Merge::kOver};
  draw_all(kMerges[static_cast<int64_t>(p.composite)], p, canvas, static_cast<int32_t*>(nullptr));
}

template <class T>
void survey(const DrawSegmentsParams<T>& p, const Scratch<T>& scratch) {
  if (p.composite == Composite::kMax) {
    draw_all<T>(Merge::kWinner, p, nullptr, scratch.marks);
  } else if (p.composite == Composite::kSoftor) {
    draw_all(Merge::kRest, p, scratch.rest, scratch.marks);
  }
}

}  // namespace

void launch_draw_segments(const DrawSegmentsParams<float>& p, float* canvas) { draw(p, canvas); }
void launch_draw_segments(const DrawSegmentsParams<double>& p, double* canvas) { draw(p, canvas); }

void fill_scratch(const DrawSegmentsParams<float>& p, const Scratch<float>& s) { survey(p, s); }
void fill_scratch(const DrawSegmentsParams<double>& p, const Scratch<double>& s) { survey(p, s); }

}  // namespace cpu
}  // namespace softraster
