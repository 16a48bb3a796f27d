/*
 * fuzz_exif - the input is Exif: what it says is one of eight ways to turn a
 * picture, each of which keeps all pixels, and one that has an inverse is undone
 * by it.
 */
#include "svc-content/image/exif.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#define W 3
#define H 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned inverse[9] = {0, 1, 2, 3, 4, 5, 8, 7, 6};
	unsigned o = exif_orientation((struct str){(const char *)data, size});
	AUTO_PICTURE p = {W, H, malloc((size_t)W * H * 3)};

	assert(o >= 1 && o <= 8);
	if (!p.rgb)
		return 0;
	for (unsigned i = 0; i < W * H * 3; i++)
		p.rgb[i] = (unsigned char)i;
	if (!exif_turn(&p, o) || !exif_turn(&p, inverse[o]))
		return 0;
	assert(p.w == W && p.h == H);
	for (unsigned i = 0; i < W * H * 3; i++)
		assert(p.rgb[i] == i);
	return 0;
}
