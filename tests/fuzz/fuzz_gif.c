/*
 * fuzz_gif - the input is a file that begins as a GIF does (picture.h).
 */
#include "tests/fuzz/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_picture((struct str){(const char *)data, size}, PICTURE_GIF);
	return 0;
}
