#pragma once

#include <cstdint>

// For the ISA files alone: each gets a copy of its own, compiled with its own flags.
namespace tender::kernels {
namespace {

/// Palette 1: eight tiles of 16 rows x 64 bytes.
struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileConfiguration kTileConfiguration;

}  // namespace
}  // namespace tender::kernels
