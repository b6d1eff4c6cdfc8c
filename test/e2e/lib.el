;;; lib.el --- What the Emacsen of end-to-end tests share  -*- lexical-binding: t -*-

;;; Commentary:

;; Facts are written down, one line each, below the directory E2E_WORK; what the script wants done
;; comes as a file of Lisp there, so that no key is pressed.

;;; Code:

(defconst e2e-work (file-name-as-directory (getenv "E2E_WORK")))
(defun e2e-say (&rest fields)
  "Append FIELDS, separated by tabs, to the file of facts."
  (let ((coding-system-for-write 'utf-8))
    (write-region (concat (mapconcat (lambda (field) (format "%s" field)) fields "\t") "\n")
                  nil (concat e2e-work "facts") t 'silent)))

(defun e2e-command ()
  "Do what the script asks for, if it does."
  (let ((file (concat e2e-work "command.el")))
    (when (file-exists-p file)
      (condition-case err
          (load file nil t t)
        ((error quit) (e2e-say "error" err)))
      (delete-file file))))

(defun e2e-run (start)
  "Call START, and in batch wait until the script says so."
  (condition-case err
      (progn
        (funcall start)
        (run-with-timer 0.1 0.1 #'e2e-command)
        (e2e-say "started" (emacs-pid)))
    ((error quit) (e2e-say "error" err)))
  (if noninteractive
      (while (not (file-exists-p (concat e2e-work "stop")))
        (accept-process-output nil 0.05))
    (when (get-buffer "*Group*")
      (switch-to-buffer "*Group*"))))

(defun e2e-begin (start)
  "Call START, at once in batch, otherwise when Emacs is up."
  (if noninteractive (e2e-run start) (run-with-timer 0.1 nil #'e2e-run start)))

(provide 'e2e-lib)
;;; lib.el ends here
