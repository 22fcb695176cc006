"""What crosses between edge and cloud: the nouns and their bytes. Imports no other package of Lamplighter."""
