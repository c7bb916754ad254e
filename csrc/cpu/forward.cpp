// Forward on the CPU: parallel over bands of rows. A band walks the segments in order and adds each
// to the pixels that it reaches, so a pixel's sum has one order, whatever the bands and the
// threads.
#include <algorithm>
#include <limits>
#include <vector>

#include "../draw_segments.h"
#include "support.h"

namespace softraster {
namespace cpu {
namespace {

// kMax needs no index to draw; the backward pass asks for the winner of every pixel.
enum class Merge { kSum, kMax, kWinner };

template <class T>
struct Band {
  Range rows;
  int64_t width;
  T* canvas;        // (height, width), of which the band's rows are drawn; kWinner: (rows, width)
  int32_t* winner;  // (height, width), for kWinner
  BoxTable<T> box_x, box_y;

  SOFTRASTER_INLINE T* canvas_row(int64_t row, Merge merge) const {
    return canvas + (merge == Merge::kWinner ? row - rows.begin : row) * width;
  }
};

template <Merge merge, class T>
SOFTRASTER_INLINE void merge_pixels(const T* __restrict values, int64_t lanes, int32_t index,
                                    T* __restrict canvas, int32_t* __restrict winner) {
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const T value = values[lane], before = canvas[lane];
    if (merge == Merge::kSum) {
      canvas[lane] = before + value;
    } else {
      canvas[lane] = value > before ? value : before;
      if (merge == Merge::kWinner) winner[lane] = value > before ? index : winner[lane];
    }
  }
}

template <Merge merge, Axis axis, class T>
SOFTRASTER_INLINE void draw_row(const Segment<T>& s, T intensity, int64_t row, Range columns,
                                int32_t index, const Band<T>& band) {
  const T box_y = band.box_y.value[row];
  T* canvas = band.canvas_row(row, merge);
  int32_t* winner = merge == Merge::kWinner ? band.winner + row * band.width : nullptr;
  for (int64_t chunk = first_chunk(columns, band.width); chunk < columns.end; chunk += kLanes) {
    const Offset<T> offset = chunk_offset<axis>(s, row, chunk);
    const T* box_x = band.box_x.value + chunk;
    T values[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      const T covered = axis == Axis::kDot
                            ? dot_coverage(box_x[lane], box_y)
                            : coverage(offset.first + T(lane) * offset.step, box_x[lane], box_y, s);
      values[lane] = intensity * covered;
    }
    int32_t* chunk_winner = merge == Merge::kWinner ? winner + chunk : nullptr;
    if (chunk + kLanes <= band.width) {  // a constant number of lanes makes vector code
      merge_pixels<merge>(values, kLanes, index, canvas + chunk, chunk_winner);
    } else {
      merge_pixels<merge>(values, band.width - chunk, index, canvas + chunk, chunk_winner);
    }
  }
}

template <Merge merge, Axis axis, class T>
SOFTRASTER_INLINE void draw_segment(const Segment<T>& s, T intensity, Range rows, Range columns,
                                    int32_t index, const Band<T>& band) {
  const RowWindow window = row_window(s);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const Range visited = visited_columns<axis>(s, window, row, columns);
    if (!visited.empty()) draw_row<merge, axis>(s, intensity, row, visited, index, band);
  }
}

// False where a segment is invalid: its canvas is to become NaN.
template <Merge merge, class T>
SOFTRASTER_INLINE bool draw_band(const DrawSegmentsParams<T>& p, int64_t item,
                                 const Band<T>& band) {
  const double side = p.side();
  for (int64_t n = 0; n < p.count; ++n) {
    const int64_t at = item * p.count + n;
    Segment<T> s = make_segment(p.segments + 4 * at, p.softness[at], side, p.log_tolerance);
    const T intensity = p.intensity ? p.intensity[at] : T(1);
    if (!s.valid || !(0 * intensity == 0)) return false;
    if (intensity == 0) continue;
    const Range rows = row_support(s, band.rows);
    const Range columns = column_support(s, {0, band.width});
    if (rows.empty() || columns.empty()) continue;
    shape_boxes(s);
    fill_table<false>(chunk_range(columns, band.width), s.mid_x, s.box_x, band.box_x);
    fill_table<false>(aligned(rows), s.mid_y, s.box_y, band.box_y);
    const int32_t index = static_cast<int32_t>(n);
    if (s.axis == Axis::kX) {
      draw_segment<merge, Axis::kX>(s, intensity, rows, columns, index, band);
    } else if (s.axis == Axis::kY) {
      draw_segment<merge, Axis::kY>(s, intensity, rows, columns, index, band);
    } else {
      draw_segment<merge, Axis::kDot>(s, intensity, rows, columns, index, band);
    }
  }
  return true;
}

template <class T>
SOFTRASTER_INLINE bool draw_band(Merge merge, const DrawSegmentsParams<T>& p, int64_t item,
                                 const Band<T>& band) {
  switch (merge) {
    case Merge::kSum:
      return draw_band<Merge::kSum>(p, item, band);
    case Merge::kMax:
      return draw_band<Merge::kMax>(p, item, band);
    default:
      return draw_band<Merge::kWinner>(p, item, band);
  }
}

SOFTRASTER_VECTOR_CLONES bool draw_band_clone(Merge merge, const DrawSegmentsParams<float>& p,
                                              int64_t item, const Band<float>& band) {
  return draw_band(merge, p, item, band);
}
SOFTRASTER_VECTOR_CLONES bool draw_band_clone(Merge merge, const DrawSegmentsParams<double>& p,
                                              int64_t item, const Band<double>& band) {
  return draw_band(merge, p, item, band);
}

// Bands a canvas: one where the batch feeds all threads, else a few for each thread, of whole
// chunks of rows. kWinner keeps a band's canvas in scratch, so its bands stay small.
int64_t bands_of(int64_t batch, int64_t height, Merge merge) {
  const int64_t threads = num_threads();
  const int64_t wanted = batch >= 2 * threads || threads == 1 ? 1 : 4 * threads / batch + 1;
  const int64_t most = std::max<int64_t>(1, height / 16);
  const int64_t least = merge == Merge::kWinner ? (height + 63) / 64 : 1;
  return std::max(std::min(wanted, most), least);
}

template <class T>
void draw(const DrawSegmentsParams<T>& p, Merge merge, T* canvas, int32_t* winner) {
  const int64_t pixels = p.height * p.width;
  const int64_t bands = bands_of(std::max<int64_t>(p.batch, 1), p.height, merge);
  const int64_t grain = std::max<int64_t>(1, 64 / std::max<int64_t>(p.count, 1));
  parallel_for(p.batch * bands, grain, [&](int64_t begin, int64_t end) {
    const int64_t room_x = table_room(p.width), room_y = table_room(p.height);
    std::vector<T> tables(room_x + room_y);
    std::vector<T> best;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t item = task / bands, part = task % bands;
      Band<T> band;
      band.rows = {part * p.height / bands, (part + 1) * p.height / bands};
      band.width = p.width;
      band.box_x = {tables.data(), nullptr, nullptr};
      band.box_y = {tables.data() + room_x, nullptr, nullptr};
      const int64_t offset = band.rows.begin * p.width;
      const int64_t size = (band.rows.end - band.rows.begin) * p.width;
      if (merge == Merge::kWinner) {
        best.assign(size, T(0));
        band.canvas = best.data();
        band.winner = winner + item * pixels;
        std::fill_n(band.winner + offset, size, kNobody);
        if (!draw_band_clone(merge, p, item, band)) {
          std::fill_n(band.winner + offset, size, kEverybody);
        }
      } else {
        band.canvas = canvas + item * pixels;
        band.winner = nullptr;
        std::fill_n(band.canvas + offset, size, T(0));
        if (!draw_band_clone(merge, p, item, band)) {
          std::fill_n(band.canvas + offset, size, std::numeric_limits<T>::quiet_NaN());
        }
      }
    }
  });
}

template <class T>
void draw(const DrawSegmentsParams<T>& p, T* canvas) {
  draw(p, p.composite == Composite::kSum ? Merge::kSum : Merge::kMax, canvas, nullptr);
}

}  // namespace

void launch_draw_segments(const DrawSegmentsParams<float>& p, float* canvas) { draw(p, canvas); }
void launch_draw_segments(const DrawSegmentsParams<double>& p, double* canvas) { draw(p, canvas); }

void find_winners(const DrawSegmentsParams<float>& p, int32_t* winner) {
  draw<float>(p, Merge::kWinner, nullptr, winner);
}
void find_winners(const DrawSegmentsParams<double>& p, int32_t* winner) {
  draw<double>(p, Merge::kWinner, nullptr, winner);
}

}  // namespace cpu
}  // namespace softraster
