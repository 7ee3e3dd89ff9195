/* Loads a SavedModel as TensorFlow Serving does, by its C++ loader, with no Python in the process,
 * and classifies one file after another. For each it prints its most probable classes, a line
 * "index probability label" each, or a line "error CODE MESSAGE", and goes on.
 *
 *   classify EXPORT INPUT PROBABILITIES CLASSES LABELS FILE...
 *
 * INPUT and the outputs are tensor names, "operation:index", of the signature.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

enum { OUTPUTS = 3 };

static void die(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(2);
}

static TF_Output find(TF_Graph* graph, const char* tensor) {
  char name[256];
  int index = 0;
  if (sscanf(tensor, "%255[^:]:%d", name, &index) < 1) die(tensor, "not a tensor name");
  TF_Output found = {TF_GraphOperationByName(graph, name), index};
  if (!found.oper) die(tensor, "not in the graph");
  return found;
}

/* Returns a string tensor of shape [1] with the bytes of a file. */
static TF_Tensor* read_file(const char* path) {
  FILE* file = fopen(path, "rb");
  if (!file) die(path, "cannot be read");
  fseek(file, 0, SEEK_END);
  const size_t size = ftell(file);
  rewind(file);
  char* bytes = malloc(size + 1);
  if (fread(bytes, 1, size, file) != size) die(path, "cannot be read");
  fclose(file);
  const int64_t shape[] = {1};
  TF_Tensor* tensor = TF_AllocateTensor(TF_STRING, shape, 1, sizeof(TF_TString));
  TF_TString* text = TF_TensorData(tensor);
  TF_StringInit(text);
  TF_StringCopy(text, bytes, size);
  free(bytes);
  return tensor;
}

static void print_classes(TF_Tensor** values) {
  const float* probabilities = TF_TensorData(values[0]);
  const int32_t* classes = TF_TensorData(values[1]);
  const TF_TString* labels = TF_TensorData(values[2]);
  for (int64_t i = 0; i < TF_Dim(values[1], 1); ++i) {
    printf("%d %.9g %.*s\n", classes[i], probabilities[classes[i]],
           (int)TF_StringGetSize(&labels[i]), TF_StringGetDataPointer(&labels[i]));
  }
}

int main(int argc, char** argv) {
  if (argc < 7) die(argv[0], "EXPORT INPUT PROBABILITIES CLASSES LABELS FILE...");
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session =
      TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  if (TF_GetCode(status) != TF_OK) die(argv[1], TF_Message(status));
  const TF_Output input = find(graph, argv[2]);
  TF_Output outputs[OUTPUTS];
  for (int i = 0; i < OUTPUTS; ++i) outputs[i] = find(graph, argv[3 + i]);

  for (int i = 6; i < argc; ++i) {
    TF_Tensor* request = read_file(argv[i]);
    TF_Tensor* reply[OUTPUTS] = {NULL};
    TF_SessionRun(session, NULL, &input, &request, 1, outputs, reply, OUTPUTS, NULL, 0, NULL,
                  status);
    if (TF_GetCode(status) == TF_OK) {
      print_classes(reply);
    } else {
      char* message = strdup(TF_Message(status));
      for (char* at = message; *at; ++at) *at = *at == '\n' ? ' ' : *at;
      printf("error %d %s\n", TF_GetCode(status), message);
      free(message);
    }
    for (int k = 0; k < OUTPUTS; ++k) {
      if (reply[k]) TF_DeleteTensor(reply[k]);
    }
    TF_DeleteTensor(request);
  }
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
