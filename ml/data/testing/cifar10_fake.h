// Files in the form of CIFAR-10's binary version, for tests: the right sizes and class counts, made-up pixels.
#pragma once

#include <cstdint>
#include <string>

namespace prunelab {

// The label of record `record` (0 to 9,999) of file `file` (0 to 4: data_batch_1 to _5, 5: test_batch), and its pixel
// (0 to 3,071: red, green, blue planes of 32 rows of 32).
int FakeCifar10Label(int file, int record);
uint8_t FakeCifar10Pixel(int file, int record, int pixel);

// Writes the six files (30,730,000 bytes each) to `folder`, which is created if it is missing.
void WriteFakeCifar10(const std::string& folder);

}  // namespace prunelab
