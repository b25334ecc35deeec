"""The proof that funcgrad takes the whole language: tables of cases by family, and one test that runs each."""
