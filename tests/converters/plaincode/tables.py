"""Small real data sets that tests of readers share."""

from __future__ import annotations

import numpy as np
from sklearn import datasets, preprocessing

IRIS, IRIS_Y = datasets.load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[IRIS_Y]
CANCER, CANCER_Y = (a[::3] for a in datasets.load_breast_cancer(return_X_y=True))
CANCER = preprocessing.StandardScaler().fit_transform(CANCER)
DIGITS, DIGITS_Y = (a[:500] for a in datasets.load_digits(return_X_y=True))
DIABETES, DIABETES_Y = datasets.load_diabetes(return_X_y=True)
