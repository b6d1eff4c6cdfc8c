;;; recipe.el --- What a package archive makes of this tree  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; `recipe-copy' puts the files that recipes/mailsync lists where MELPA's
;; package-build would (its commentary has the rules): a file goes by its
;; own name, a directory as it is, what is in a list into the directory that
;; begins the list.

;;; Code:

(defun recipe--copy-one (name directory)
  "Copy NAME, a file or a directory, into DIRECTORY."
  (let ((target (expand-file-name (file-name-nondirectory name) directory)))
    (cond
     ((file-exists-p target) (error "Two files would be %s" target))
     ((file-directory-p name) (copy-directory name target))
     (t (copy-file name target)))))

(defun recipe--copy (specs source directory)
  "Copy from SOURCE what SPECS say to DIRECTORY."
  (make-directory directory t)
  (dolist (spec specs)
    (if (consp spec)
        (recipe--copy (cdr spec) source (expand-file-name (car spec) directory))
      (let ((found (file-expand-wildcards (expand-file-name spec source))))
        (unless found
          (error "Nothing is %s" spec))
        (dolist (name found)
          (recipe--copy-one name directory))))))

(defun recipe-copy ()
  "Make the package: arguments are the recipe, the tree and the directory."
  (pcase-let* ((`(,recipe ,source ,directory) command-line-args-left)
               (`(,name . ,plist) (with-temp-buffer
                                    (insert-file-contents recipe)
                                    (read (current-buffer)))))
    (setq command-line-args-left nil)
    (unless (equal (symbol-name name) (file-name-nondirectory recipe))
      (error "The recipe of %s is called otherwise" name))
    (unless (and (eq (plist-get plist :fetcher) 'github)
                 (equal (plist-get plist :repo) "mailsync/mailsync"))
      (error "The recipe does not say where mailsync is"))
    (recipe--copy (plist-get plist :files) source directory)))

(provide 'recipe)
;;; recipe.el ends here
