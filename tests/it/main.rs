mod tutk_vectors;
