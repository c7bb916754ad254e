// Drawing one band of rows: what the forward pass does everywhere, and backward passes do again.
#pragma once
#include "cover.h"
#include "merge.h"

namespace softraster {
namespace cpu {

// Pointers are to the first pixel of row 0 of the canvas; null where a merge has no use for them.
template <class T>
struct Band {
  Range rows;
  T* canvas;
  int32_t* marks;
  int64_t stride;  // from plane to plane of canvas and marks
  T* best;         // (rows of the band, columns): its first pixel is that of the band
  Tables<T> tables;
};

// visit(row, chunk, coverage times intensity, lanes) for all chunks that a segment reaches.
template <Kind kind, class T, class Visit>
SOFTRASTER_INLINE void cover_segment(const Segment<T>& s, T intensity, Range rows, Range columns,
                                     int64_t width, const Tables<T>& tables, const Visit& visit) {
  const RowWindow window = row_window(s);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const Range visited = visited_columns<kind>(s, window, row, columns);
    if (visited.empty()) continue;
    const T box_y = kind == Kind::kCapsule ? T(0) : tables.y.value[row];
    for (int64_t chunk = first_chunk(visited, width); chunk < visited.end; chunk += kLanes) {
      const Place<T> place = place_pixel(kind, s, chunk, row);
      const T* __restrict box_x = kind == Kind::kCapsule ? nullptr : tables.x.value + chunk;
      T coverage[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) {
        const T at_x = kind == Kind::kCapsule ? T(0) : box_x[lane];
        coverage[lane] = intensity * cover_lane<kind>(s, place, lane, at_x, box_y).coverage;
      }
      visit(row, chunk, coverage, width - chunk);
    }
  }
}

// Draws the segments of a canvas onto a band. False where one is invalid: then the whole canvas is
// to become NaN.
template <class T>
SOFTRASTER_INLINE bool draw_band(Merge merge, const DrawSegmentsParams<T>& p, int64_t item,
                                 const Band<T>& band) {
  const int64_t first_pixel = band.rows.begin * p.columns;
  for (int64_t n = 0; n < p.count; ++n) {
    const int64_t at = item * p.count + n;
    Segment<T> s = segment_at(p, at);
    const T intensity = intensity_at(p, at);
    if (!s.valid || !(0 * intensity == 0)) return false;
    if (intensity == 0) continue;
    const Range rows = row_support(s, band.rows), columns = column_support(s, {0, p.columns});
    if (rows.empty() || columns.empty()) continue;
    shape_boxes(s);
    fill_tables<false>(s, rows, columns, p.columns, band.tables);
    const T* color = p.color ? p.color + at * p.channels : nullptr;
    T* const plain = merge == Merge::kSum && !color ? band.canvas : nullptr;  // the usual case
    with_kind(s, [&](auto kind) SOFTRASTER_INLINE_LAMBDA {
      cover_segment<kind.value>(
          s, intensity, rows, columns, p.columns, band.tables,
          [&](int64_t row, int64_t chunk, const T* coverage, int64_t lanes)
              SOFTRASTER_INLINE_LAMBDA {
                const int64_t pixel = row * p.columns + chunk;
                if (plain && lanes >= kLanes) {
                  T* __restrict canvas = plain + pixel;
                  for (int lane = 0; lane < kLanes; ++lane) canvas[lane] += coverage[lane];
                  return;
                }
                merge_chunk(merge, coverage, lanes, static_cast<int32_t>(n), color,
                            {band.canvas ? band.canvas + pixel : nullptr,
                             band.best ? band.best + (pixel - first_pixel) : nullptr,
                             band.marks ? band.marks + pixel : nullptr, band.stride, p.channels});
              });
    });
  }
  return true;
}

}  // namespace cpu
}  // namespace softraster
