/*
 * fuzz.h -- what the fuzz targets share; `make fuzz T=json S=60` builds and runs one.
 *
 * A target is one file: clang's libFuzzer calls LLVMFuzzerTestOneInput with bytes of its own
 * making, under ASan and UBSan. What must hold of the parser is check()ed, so that a wrong answer
 * ends the run as a crash does. Seeds of ours are in corpus/<target>; third-party vectors are read
 * in place by `run`.
 */
#ifndef PRISM_TESTS_FUZZ_H
#define PRISM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/span.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libFuzzer's: a target may change its inputs itself, and have them changed as libFuzzer would. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

#endif
