/*
 * worker - the process in which a picture of somebody else is decoded.
 *
 * Why:     picture_read() runs the code of four libraries over hostile bytes.
 *          Our own process has keys, databases and other people's requests in
 *          its memory; the worker begins empty (it is this program started anew,
 *          without environment and descriptors), takes its rights away (jail.h)
 *          and only then looks at the bytes.  What comes back is pixels whose
 *          number is checked, so that nobody need trust it.
 *
 *   int main(int argc, char **argv)
 *   {
 *           if (worker_is_asked(argc, argv))
 *                   return worker_main(argv);
 *
 * must begin the main() of each program that decodes (decode.h), as it is its
 * own program file, /proc/self/exe, that is started.
 *
 * In:      descriptor 0: a file of the bytes; 1: a pipe for the answer.
 * Out:     struct worker_answer, then w * h * 3 bytes if it says PICTURE_OK.
 */
#ifndef SVC_CONTENT_IMAGE_WORKER_H
#define SVC_CONTENT_IMAGE_WORKER_H

#include "svc-content/image/picture.h"

#define WORKER_FLAG "--decode-picture"
/* Behind the flag, in decimal: pixels, fit, milliseconds. */
#define WORKER_WORDS 5
#define WORKER_MAGIC 0x50494358u

struct worker_answer {
	uint32_t magic;
	uint32_t fault; /* enum picture_fault, or WORKER_NO_JAIL */
	uint32_t w, h;
};
#define WORKER_NO_JAIL 255u

bool worker_is_asked(int argc, char *const *argv);
/* The exit code of the process, which must do nothing more. */
int worker_main(char *const *argv);

#endif
