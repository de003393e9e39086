"""Display: pictures, notebooks, reports and animations of arrays and runs."""
