/* Segments a point cloud by the names of its parts, from C.
 *
 *     segment MODEL WEIGHTS_FOLDER POINTS PRECISION PART...
 *
 * POINTS is a file of float32 x y z, or "-" for the standard input. Writes one label (int32) per point to the
 * standard output and one line per part to the standard error.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pa3d.h"

static void stop(const char* doing) {
  fprintf(stderr, "%s: %s\n", doing, pa3d_error_message());
  exit(1);
}

/* All points of a file; n is how many. */
static float* read_points(const char* path, int64_t* n) {
  FILE* file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
  size_t size = 0, room = 3 * 4096;
  float* points = malloc(room * sizeof(float));
  if (file == NULL || points == NULL) {
    fprintf(stderr, "%s: cannot be read\n", path);
    exit(1);
  }
  for (;;) {
    size_t got = fread(points + size, sizeof(float), room - size, file);
    size += got;
    if (size < room) break;
    points = realloc(points, (room *= 2) * sizeof(float));
    if (points == NULL) {
      fprintf(stderr, "%s: out of memory\n", path);
      exit(1);
    }
  }
  if (file != stdin) fclose(file);
  *n = (int64_t)(size / 3);
  return points;
}

int main(int argc, char** argv) {
  pa3d_model* model = NULL;
  pa3d_text* text = NULL;
  char weights[4096], tokenizer[4096];
  int64_t n;
  if (argc < 6) {
    fprintf(stderr, "usage: %s MODEL WEIGHTS_FOLDER POINTS PRECISION PART...\n", argv[0]);
    return 2;
  }
  snprintf(weights, sizeof weights, "%s/minilm-l6-v2.safetensors", argv[2]);
  snprintf(tokenizer, sizeof tokenizer, "%s/minilm-tokenizer.json", argv[2]);
  if (pa3d_model_load(argv[1], argv[4], &model)) stop("model");
  if (pa3d_text_load(weights, tokenizer, &text)) stop("text encoder");

  float* points = read_points(argv[3], &n);
  const char* const* parts = (const char* const*)argv + 5;
  const int64_t parts_count = argc - 5;
  int32_t* labels = malloc((size_t)(n + 1) * sizeof(int32_t));
  if (labels == NULL) return 1;
  if (pa3d_segment(model, text, points, n, parts, parts_count, NULL, NULL, labels, NULL)) stop("segment");

  fwrite(labels, sizeof(int32_t), (size_t)n, stdout);
  for (int64_t part = 0; part < parts_count; ++part) {
    long long count = 0;
    for (int64_t i = 0; i < n; ++i) count += labels[i] == part;
    fprintf(stderr, "%8lld  %s\n", count, parts[part]);
  }
  free(labels);
  free(points);
  pa3d_text_free(text);
  pa3d_model_free(model);
  return 0;
}
